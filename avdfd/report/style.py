"""Style sheet of the page for screens, phones and print."""

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --muted: #595959; --line: #d9d9d9; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h1 small { font-weight: 400; color: var(--muted); font-size: 1.1rem; }
h2 { font-size: 1.2rem; margin: 36px 0 10px; }
h3 { font-size: 1rem; margin: 0 0 6px; }
.lead { font-size: 1.1rem; margin: 0 0 12px; }
.note, figcaption { color: var(--muted); font-size: .875rem; max-width: 75ch; margin: 8px 0 0; }
.warning { border-left: 4px solid #b00020; background: #fdf0f1; padding: 8px 12px; margin: 8px 0; max-width: 75ch; }
.box { overflow-x: auto; max-width: 100%; }
.box + .box, .note + .box, .figures + .box, .note + .figures { margin-top: 14px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: left; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; font-weight: 600; color: var(--muted); background: #fafafa; vertical-align: bottom; }
tbody:first-child tr:first-child > * { border-top: 0; }
tbody th { font-weight: 600; white-space: nowrap; position: sticky; left: 0; background: #fff; }
.num { text-align: right; }
.name { white-space: nowrap; }
thead button { all: unset; cursor: pointer; text-align: inherit; }
thead button:hover { text-decoration: underline; }
thead button:focus-visible, .box:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
[aria-sort=ascending] button::after { content: " \\2191"; }
[aria-sort=descending] button::after { content: " \\2193"; }
.metric { min-width: 7.2em; }
.interval { display: block; color: var(--muted); font-size: .78rem; white-space: nowrap; }
.group { color: var(--muted); padding-top: 14px; }
.best { font-weight: 700; }
.best .interval { font-weight: 400; }
.bad { background: #fbdde0; font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 28px 40px; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 16px 20px; }
details { margin: 14px 0 0; }
summary { cursor: pointer; }
figure { margin: 0; max-width: 470px; break-inside: avoid; }
.gallery { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 20px; }
.gallery figcaption, .gallery code { overflow-wrap: anywhere; }
.gallery code { display: block; font-size: .75rem; margin: 4px 0 0; }
figure img { width: 100%; height: auto; display: block; }
pre { font-size: .8rem; line-height: 1.4; padding: 12px; overflow-x: auto; }
pre, .box { border: 1px solid var(--line); border-radius: 6px; }
.facts td { overflow-wrap: anywhere; min-width: 11em; }
@media (max-width: 600px) {
  table { font-size: .84rem; }
  th, td { padding: 6px 7px; }
  tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 8em; }
  .interval { font-size: .7rem; letter-spacing: -.01em; }
}
@media print {
  main { max-width: none; padding: 0; }
  :root { font-size: 11px; }
  body { font-size: 1rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .box, pre { overflow: visible; border: 0; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 9px; }
  th, td { padding: 2px 4px; }
  tbody th { min-width: 6em; }
  tbody th, .interval, .name { white-space: normal; overflow-wrap: anywhere; }
  .interval { font-size: 7.5px; }
  .metric { min-width: 0; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
}
"""
