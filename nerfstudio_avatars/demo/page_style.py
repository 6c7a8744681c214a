"""How pages with results look, on a wide screen and on a phone."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }
h1 { line-height: 1.2; } figure { margin: 1rem 0; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 1rem; }
.looks { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(13rem, 45%), 1fr)); gap: 0 1rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 0 1rem; }
.wide { overflow-x: auto; }
video { width: 100%; background: #fff; border: 1px solid #ddd; border-radius: 6px; box-sizing: border-box; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; }
td { text-align: right; font-variant-numeric: tabular-nums; } summary { cursor: pointer; padding: .5rem 0; }
iframe { width: 100%; height: min(34rem, 80vh); border: 1px solid #ddd; border-radius: 6px; box-sizing: border-box; }
figure img { max-width: 100%; height: auto; border: 1px solid #ddd; border-radius: 6px; box-sizing: border-box; }
figcaption { color: #666; font-size: .9rem; }
pre { background: #f5f5f5; padding: .8rem 1rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
