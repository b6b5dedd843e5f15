"""How the small base model `cyrex-small` is made: sources, tokenizer, diet, pretraining, export."""
