"""How the page of a report looks."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--soft:#5b6475;--line:#e3e6ec;--paper:#fff;
--page:#f5f6f9;--bar:#4a6fe3;--good:#17764b;--odd:#8a5a00;--bad:#b3261e;--goodbg:#e5f5ec;
--oddbg:#fff3d6;--badbg:#fde8e6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9f0;--soft:#9aa4b8;--line:#2c3442;--paper:#181d27;
--page:#10141b;--bar:#7c9bff;--good:#7fdcae;--odd:#f0c060;--bad:#ff9c94;--goodbg:#12301f;
--oddbg:#332708;--badbg:#3a1613}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}
.kind{margin:0;color:var(--soft);font-size:13px;letter-spacing:.08em;text-transform:uppercase}
h1{margin:2px 0 14px;font-size:28px;line-height:1.2;overflow-wrap:anywhere}
h2{margin:0 0 10px;font-size:18px}
.verdict{margin:0;padding:12px 16px;border-radius:10px;font-weight:600}
.good{background:var(--goodbg);color:var(--good)}.odd{background:var(--oddbg);color:var(--odd)}
.bad{background:var(--badbg);color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
margin:20px 0 12px}
.tiles div,section{background:var(--paper);border:1px solid var(--line);border-radius:12px}
.tiles div{padding:14px 16px}.tiles b{display:block;font-size:24px;line-height:1.2}
.tiles span{color:var(--soft);font-size:13px}
.chips{margin:0 0 20px;display:flex;flex-wrap:wrap;gap:8px}
.chip{padding:3px 10px;border:1px solid var(--line);border-radius:99px;font-size:13px;
background:var(--paper);color:var(--soft)}.chip b{color:var(--ink)}
section{padding:18px 20px;margin:0 0 16px}section p{margin:0 0 10px;color:var(--soft)}
ul{margin:0;padding-left:20px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th{color:var(--soft);font-weight:600;font-size:13px;text-align:left}
th,td{padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere;min-width:84px}tr:last-child td{border-bottom:0}
td:first-child{font-variant-numeric:tabular-nums}
.more{margin:10px 0 0;font-size:13px}
.bar{display:grid;grid-template-columns:minmax(110px,28%) 1fr 72px;gap:12px;align-items:center;
padding:3px 0;font-size:14px}
.bar span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar i{display:block;height:14px;border-radius:4px;background:var(--bar)}
.bar b{font-weight:500;text-align:right;font-variant-numeric:tabular-nums}
"""
