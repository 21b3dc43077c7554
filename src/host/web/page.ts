/** The page of `-display web` and its style. What it does is in script.ts. */

export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>ambervm</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
  <b>ambervm</b>
  <span id="state" role="status">connecting</span>
  <button id="pause">Pause</button>
  <button id="resume">Resume</button>
  <button id="reset">Reset</button>
  <button id="cad">Ctrl-Alt-Del</button>
  <form id="save"><input id="tag" placeholder="snapshot tag" aria-label="snapshot tag" size="14">
    <button id="savevm">Save</button></form>
  <output id="message"></output>
</header>
<main>
  <div id="screen"></div>
  <aside>
    <nav>
      <button data-tab="snapshots" aria-pressed="true">Snapshots</button>
      <button data-tab="serial" aria-pressed="false">Serial</button>
      <button data-tab="monitor" aria-pressed="false">Monitor</button>
    </nav>
    <section id="snapshots">
      <table><thead><tr><th></th><th>Tag</th><th>Date</th><th>Size</th></tr></thead><tbody></tbody></table>
      <p>Click one to go back to it.</p>
    </section>
    <section id="serial" hidden>
      <pre></pre>
      <form><input aria-label="serial input" autocomplete="off" placeholder="line for the serial port"></form>
    </section>
    <section id="monitor" hidden>
      <pre></pre>
      <form><input aria-label="monitor command" autocomplete="off" placeholder="help"></form>
    </section>
  </aside>
</main>
<script type="module" src="script.js"></script>
</body>
</html>
`;

export const STYLE = `
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; font: 14px system-ui, sans-serif;
  background: #1d1b17; color: #eee; }
header { display: flex; gap: .5em; align-items: center; padding: .4em .8em; background: #3a2f14; }
header form { display: flex; gap: .3em; }
#state { min-width: 6em; color: #ffc240; }
#message { margin-left: auto; color: #ff9070; white-space: pre-wrap; }
main { flex: 1; display: flex; min-height: 0; }
#screen { flex: 1; min-width: 0; background: #000; }
aside { width: 26em; display: flex; flex-direction: column; border-left: 1px solid #555; }
nav { display: flex; }
nav button { flex: 1; }
nav button[aria-pressed=true] { background: #ffc240; color: #000; }
section { flex: 1; min-height: 0; display: flex; flex-direction: column; padding: .5em; overflow: auto; }
section[hidden] { display: none; }
pre { flex: 1; min-height: 0; margin: 0 0 .5em; overflow: auto; white-space: pre-wrap; font-size: 12px; }
section form, section form input { width: 100%; }
button, input { font: inherit; background: #2b2822; color: #eee; border: 1px solid #776; padding: .2em .5em; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .2em .4em; text-align: left; }
tbody tr { cursor: pointer; }
tbody tr:hover { background: #4a4028; }
td img { display: block; width: 80px; }
`;
