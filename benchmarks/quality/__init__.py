"""Examples for adapter_quality."""
