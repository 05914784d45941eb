"""The app's own style sheet, beyond what `.streamlit/config.toml` can say.

Colours follow Streamlit's theme: text and lines are mixed from the current colour, and the two
accents, a blue and an orange that colour-blind people can distinguish, have a light and a dark
form.
"""

from __future__ import annotations

from collections.abc import Mapping

CSS = """
:root {
  --serif: "Source Serif", "Source Serif 4", Georgia, serif;
  --gap: 1.5rem;
}
.stApp {
  --accent: light-dark(#2447c4, #9db2ff);
  --doubt: light-dark(#a84300, #ffb066);
  --doubt-soft: light-dark(#fdf0e2, #33261a);
  --card: light-dark(#ffffff, #1b1f29);
  --desk: light-dark(#f1eee5, #1e222d);
  --line: light-dark(#e3dfd2, #323848);
  --quiet: light-dark(#5b6072, #a9afc0);
  --faint: light-dark(#8b877b, #767d91);
  --ink: light-dark(#1c2130, #f1eee5);
}

/* Page */
.stMainBlockContainer { max-width: 72rem; padding: 0.75rem 1.5rem 3rem; }
.stAppHeader { background: transparent; }
.stAppHeader, .stAppHeader * { pointer-events: none; }
.stAppHeader button, .stAppHeader button * { pointer-events: auto; }
.st-key-pages { gap: 0.25rem; margin: 0 3rem -0.5rem -0.5rem; min-height: 2.25rem; }
.st-key-pages p { white-space: nowrap; }
.stMainBlockContainer h1 { letter-spacing: -0.015em; padding: 0 0 0.25rem; text-wrap: balance; }
.lead { color: var(--quiet); font-size: 1.125rem; margin: 0; text-wrap: pretty; }
.private { color: var(--quiet); font-size: 0.875rem; margin: 0; }
.label { font-size: 0.875rem; font-weight: 600; margin: 0; }
.hint { color: var(--quiet); margin: 0; }
.stHtml { line-height: 1.5; }

/* Inputs */
.stPopover button:is(:hover, [aria-expanded="true"]) { color: var(--accent); }
.stFileUploader section {
  border: 2px dashed color-mix(in srgb, var(--accent) 45%, transparent); background: var(--card);
  padding: 1.25rem 1rem;
}

.st-key-ways { max-height: 2rem; } /* what stands there until it is loaded is higher */
.st-key-ways .stButtonGroup button { font-weight: 600; }
/* As high as the sheet, however it is given: nothing below jumps. */
.st-key-given { min-height: 16.25rem; }
.st-key-given .stFileUploader section { min-height: 14.25rem; align-content: center; }
.camera {
  position: relative; display: grid; height: 13.5rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 0.75rem 0.75rem 0 0; overflow: hidden;
}
.camera video, .camera img { width: 100%; height: 100%; min-height: 0; object-fit: contain; }
.camera [hidden], .sheet-tools [hidden] { display: none; }
.camera .hint {
  position: absolute; inset: 0; display: grid; place-items: center; margin: 0; padding: 1rem;
  pointer-events: none; text-align: center;
}
.sheet {
  position: relative; display: flex; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.75rem 0.75rem 0 0;
}
.sheet canvas {
  width: 100%; aspect-ratio: 20 / 11; color: var(--ink); cursor: crosshair; touch-action: none;
}
.sheet .hint {
  position: absolute; inset: 0; display: none; place-items: center; pointer-events: none;
  color: var(--faint); font-family: var(--serif); font-size: 2rem;
}
.sheet.blank .hint { display: grid; }
.sheet-tools {
  display: flex; justify-content: flex-end; gap: 0.25rem; padding: 0.25rem;
  background: var(--desk); border: 1px solid var(--line); border-top: 0;
  border-radius: 0 0 0.75rem 0.75rem;
}
.sheet-tools button {
  border: 0; border-radius: 0.5rem; padding: 0.375rem 1rem; background: none; color: var(--accent);
  font: inherit; font-size: 0.875rem; font-weight: 600; cursor: pointer;
}
.sheet-tools button:hover:enabled { background: var(--card); }
.sheet-tools button[aria-pressed="true"] { background: var(--accent); color: var(--card); }
.sheet-tools label {
  display: flex; flex: 1; align-items: center; gap: 0.5rem; padding: 0 0.75rem; min-width: 0;
  font-size: 0.875rem;
}
.sheet-tools input { flex: 1; min-width: 2rem; max-width: 9rem; accent-color: var(--accent); }
.sheet-tools button:disabled { color: var(--quiet); cursor: default; }

/* Samples: buttons that are pictures */
.st-key-samples { display: grid; grid-template-columns: repeat(5, 1fr); gap: 0.625rem; }
.st-key-samples > *, .st-key-samples .stButton { width: 100% !important; min-width: 0; }
.st-key-samples .stButton button {
  display: block; width: 100%; padding: 0; min-height: 0; border: 1px solid var(--line);
  background: var(--card); overflow: hidden;
  transition: transform 0.15s, box-shadow 0.15s, border-color 0.15s;
}
.st-key-samples .stButton button::before {
  content: ""; display: block; aspect-ratio: 1; background: var(--picture) center / cover;
}
.st-key-samples .stButton button p { font-size: 0.8125rem; line-height: 1.75rem; }
.st-key-samples .stButton button:hover {
  transform: translateY(-2px); border-color: var(--accent);
  box-shadow: 0 6px 16px rgb(0 0 0 / 12%);
}

/* Cards */
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
  padding: 1.25rem 1.5rem 1.5rem; box-shadow: 0 1px 2px rgb(0 0 0 / 4%), 0 8px 24px rgb(0 0 0 / 4%);
}
.card > header {
  display: flex; justify-content: space-between; gap: 1rem; margin-bottom: 1rem;
  color: var(--quiet); font-size: 0.875rem;
}
.card > header span { white-space: nowrap; }
.card > header .name { overflow: hidden; text-overflow: ellipsis; font-weight: 600; }
.card .body { display: grid; grid-template-columns: 15rem 1fr; gap: var(--gap); }
.photo { display: flex; align-items: flex-start; justify-content: center; }
.canvas { position: relative; display: inline-block; line-height: 0; }
.canvas img {
  max-width: 100%; max-height: 18rem; border-radius: 0.625rem; outline: 1px solid var(--line);
}
.box {
  position: absolute; box-sizing: content-box; padding: 0.375rem; border: 2px solid #fff;
  margin: calc(-0.375rem - 2px); border-radius: 0.375rem; outline: 2px solid #2447c4;
}
.many .box { padding: 0.125rem; border-width: 0; margin: -0.125rem; }
.box.doubt { outline-color: #c05300; outline-style: dashed; }

.answer { display: flex; flex-direction: column; justify-content: center; min-width: 0; }
.answer p { margin: 0; }
.text {
  font-family: var(--serif); font-weight: 600; white-space: pre-line; overflow-wrap: anywhere;
  font-size: clamp(2rem, calc(22rem / (var(--length, 1) + 1)), 9rem); line-height: 1;
  font-variant-numeric: lining-nums; letter-spacing: -0.01em;
}
.text.none { color: var(--quiet); font-size: 6rem; }
.sure { color: var(--accent); font-size: 1.25rem; font-weight: 600; margin-top: 0.5rem !important; }
.sure b { font-weight: 400; color: inherit; padding-left: 0.375rem; white-space: nowrap; }
.sure.doubt { color: var(--doubt); }
.second { color: var(--quiet); margin-top: 0.25rem !important; }
.note {
  display: flex; flex-direction: column; gap: 0.125rem; margin-top: 1rem; padding: 0.75rem 1rem;
  background: var(--doubt-soft); border-left: 4px solid var(--doubt); border-radius: 0.5rem;
}
.failed .note { margin-top: 0; }

/* Evidence */
.evidence {
  grid-column: 1 / -1; display: grid; grid-template-columns: 1fr 8.75rem; gap: var(--gap);
  border-top: 1px solid var(--line); padding-top: 1.25rem;
}
.card h4 {
  font-family: inherit; font-size: 0.875rem; font-weight: 600; margin: 0 0 0.75rem; padding: 0;
  color: var(--quiet); letter-spacing: 0;
}
.frame {
  width: 8.75rem; height: 8.75rem; image-rendering: pixelated; border-radius: 0.5rem;
  display: block; background: #000;
}
.bars { display: grid; grid-template-columns: repeat(10, 1fr); gap: 0.375rem; height: 8.75rem; }
.bar {
  display: grid; grid-template-rows: 1.125rem 1fr 1.375rem; text-align: center; min-width: 0;
  color: var(--quiet); font-size: 0.8125rem;
}
.bar em { font-style: normal; font-size: 0.75rem; align-self: end; }
.bar i {
  grid-row: 2; align-self: end; min-height: 2px; border-radius: 0.25rem 0.25rem 0 0;
  background: color-mix(in srgb, currentColor 45%, transparent);
}
.bar span { grid-row: 3; border-top: 1px solid var(--line); padding-top: 0.125rem; }
.bar.best { color: var(--accent); font-weight: 700; }
.bar.best i { background: var(--accent); }

.tiles {
  grid-column: 1 / -1; display: grid; gap: 1rem; border-top: 1px solid var(--line);
  grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); padding-top: 1.25rem;
}
.tiles h4 { grid-column: 1 / -1; margin: 0; }
.tile { border: 1px solid var(--line); border-radius: 0.75rem; padding: 0.625rem; }
.tile.doubt { border-color: var(--doubt); border-style: dashed; }
.tile { display: grid; grid-template-columns: 3.5rem 1fr; gap: 0 0.625rem; align-items: center; }
.tile .frame { width: 3.5rem; height: 3.5rem; border-radius: 0.375rem; }
.tile p { margin: 0; color: var(--quiet); font-size: 0.8125rem; line-height: 1.2; }
.tile p b {
  display: block; font-family: var(--serif); font-size: 1.5rem; line-height: 1;
  color: var(--accent);
}
.tile.doubt p b { color: var(--doubt); }
.tile .bars { grid-column: 1 / -1; height: 4rem; gap: 0.125rem; margin-top: 0.5rem; }
.tile .bar { grid-template-rows: 0 1fr 1.125rem; font-size: 0.6875rem; }
.tile .bar em { display: none; }

/* See inside */
.inside { display: grid; gap: 1rem; }
.inside h4 { font-family: inherit; font-size: 1rem; font-weight: 600; margin: 0; padding: 0; }
.inside p, .flow span { color: var(--quiet); font-size: 0.875rem; margin: 0.25rem 0 0; }
.mattered { display: grid; grid-template-columns: 15rem 1fr; gap: var(--gap); align-items: center; }
.mattered .canvas { overflow: hidden; border-radius: 0.625rem; justify-self: center; }
.glow { position: absolute; max-width: none !important; max-height: none !important; }
.mattered .canvas .glow { outline: 0; border-radius: 0; }
.flow {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1.5rem 1.75rem;
  list-style: none; margin: 0; padding: 1.25rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem;
}
.flow li { position: relative; margin: 0; padding: 0; min-width: 0; }
.flow li + li::before {
  content: "→"; position: absolute; left: -1.75rem; width: 1.75rem; top: 5.5rem;
  text-align: center; color: var(--quiet);
}
.flow b { font-size: 0.875rem; white-space: nowrap; }
.flow li > div { height: 9.5rem; margin: 0.25rem 0; }
.flow img {
  display: block; height: 100%; max-width: 100%; border-radius: 0.5rem; object-fit: contain;
  outline: 1px solid var(--line);
}
.flow .pixels { image-rendering: pixelated; }
.flow span { display: block; line-height: 1.35; margin-top: 0.5rem; }
.flow .bars { height: 9.5rem; gap: 0.125rem; }
.flow .bar { grid-template-rows: 0 1fr 1.125rem; font-size: 0.75rem; }
.flow .bar em { display: none; }
.deeper { display: flex; flex-direction: column; justify-content: space-between; height: 100%; }
.deeper i {
  font-style: normal; font-size: 0.875rem; text-align: center; align-self: center;
  width: calc(45% + var(--side) * 4%); border-radius: 0.5rem; padding: 0.3rem 0;
  background: color-mix(in srgb, var(--accent) 14%, transparent); white-space: nowrap;
}

/* Many at once */
.st-key-tools :is(.stDownloadButton, .stButton) button {
  min-height: 2rem; padding-block: 0.125rem;
}
.readings { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.readings th, .readings td {
  text-align: left; padding: 0.5rem 1rem 0.5rem 0; border: 0;
  border-bottom: 1px solid var(--line);
}
.readings th { color: var(--quiet); font-size: 0.875rem; font-weight: 600; }
.readings tr { height: 4.5rem; }
.readings thead tr { height: auto; }
.readings td:first-child { width: 5rem; }
.readings img {
  display: block; width: 4rem; height: 3.5rem; object-fit: contain; border-radius: 0.375rem;
}
.readings .name { overflow-wrap: anywhere; font-size: 0.875rem; }
.readings .read {
  font-family: var(--serif); font-size: 1.5rem; font-weight: 600; white-space: pre-line;
}
.readings .read::after {
  content: "read as " attr(data-was); display: block; color: var(--quiet);
  font-family: "Source Sans", sans-serif; font-size: 0.8125rem; font-weight: 400;
}
.readings .read:is([data-was=""], :not([data-was]))::after { content: none; }
.readings input {
  font: inherit; color: inherit; background: none; width: 100%; min-width: 3rem; max-width: 10rem;
  field-sizing: content; border: 1px solid transparent; border-radius: 0.5rem;
  padding: 0.125rem 0.5rem; margin-left: -0.5rem;
}
.readings input:hover { border-color: var(--faint); }
.readings input:focus { outline: 2px solid var(--accent); background: var(--card); }
.readings .read:not([data-was=""])[data-was] input { color: var(--accent); }
.readings .failed i {
  display: grid; place-items: center; width: 4rem; height: 3.5rem; border-radius: 0.375rem;
  background: var(--desk); color: var(--quiet); font-style: normal;
}
.readings .doubt { color: var(--doubt); }
.readings small { color: var(--quiet); font-size: 0.875rem; }

/* Model card */
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); }
.figures div {
  padding: 1rem 1.25rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
}
.figures b { display: block; font-family: var(--serif); font-size: 2rem; line-height: 1.2; }
.figures span { color: var(--quiet); font-size: 0.875rem; }
.layers { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.layers th, .layers td {
  text-align: left; padding: 0.5rem 0.75rem 0.5rem 0; border: 0;
  border-bottom: 1px solid var(--line);
}
.layers th { color: var(--quiet); font-size: 0.875rem; font-weight: 600; }
.layers td:not(:nth-child(2)) { white-space: nowrap; }
.layers .number { text-align: right; padding: 0.5rem 0 0.5rem 0.75rem; }
.facts td:nth-child(2) { white-space: normal !important; }
.wide { overflow-x: auto; }
.refused {
  display: grid; grid-template-columns: max-content 1fr max-content; gap: 0.375rem 1rem; margin: 0;
  padding: 0; max-width: 48rem; align-items: center; font-variant-numeric: tabular-nums;
}
.refused :is(dt, dd) { margin: 0; padding: 0; font-size: 0.9375rem; font-weight: 400; }
.refused dd + dd { text-align: right; }
.refused i { display: block; height: 0.625rem; border-radius: 1rem; background: var(--accent); }
.plots { columns: 22rem 2; column-gap: 1.5rem; }
.plots figure { margin: 0 0 1.5rem; break-inside: avoid; }
.plots :is(.confusion_matrix, .errors) { column-span: all; margin-top: 1.5rem; }
.plots img {
  width: 100%; padding: 0.75rem; background: #fff;
  border: 1px solid var(--line); border-radius: 1rem;
}
.plots > :first-child { margin-top: 0; }
.plots figcaption { color: var(--quiet); font-size: 0.875rem; padding-top: 0.5rem; }

@media (max-width: 40rem) {
  .stMainBlockContainer { padding: 0.75rem 1rem 2rem; }
  .st-key-pages { flex-wrap: nowrap; gap: 0; margin-right: 2rem; }
  .st-key-pages a { padding: 0.25rem 0.375rem; gap: 0.25rem; }
  .st-key-pages p { font-size: 0.8125rem; }
  .stMainBlockContainer h1 { font-size: 1.875rem; }
  .lead { font-size: 1rem; }
  .stMainBlockContainer .stVerticalBlock { gap: 0.75rem; }
  .stFileUploader section { padding: 0.75rem; }
  .st-key-given { min-height: 15.625rem; }
  .st-key-given .stFileUploader section { min-height: 13rem; }
  .camera { height: 12.25rem; }
  .st-key-samples.stHorizontalBlock { gap: 0.5rem; }
  .st-key-samples .stButton button p { font-size: 0.75rem; }
  .stHorizontalBlock { gap: 1rem; }
  .card { padding: 1rem; }
  .card .body { grid-template-columns: 2fr 3fr; gap: 1rem; }
  .canvas img { max-height: 11rem; }
  .text { font-size: clamp(1.75rem, calc(13rem / (var(--length, 1) + 1)), 5.5rem); }
  .answer { justify-content: flex-start; }
  .sure { font-size: 1rem; margin-top: 0.25rem !important; }
  .mattered { grid-template-columns: 1fr; }
  .layers { font-size: 0.8125rem; }
  .readings thead { display: none; }
  .readings tbody tr {
    display: grid; grid-template-columns: 3.75rem 1fr auto; height: auto; padding: 0.5rem 0;
    border-bottom: 1px solid var(--line);
  }
  .readings td { border: 0; padding: 0; }
  .readings td:first-child { grid-row: 1 / 3; width: auto; }
  .readings td:last-child { grid-column: 2 / -1; font-size: 0.875rem; }
  .readings img { width: 3rem; height: 3rem; }
  .readings input { text-align: right; margin: 0; padding: 0 0.25rem; }
  .readings .read { text-align: right; }
  .readings .failed i { width: 3rem; height: 3rem; }
  .figures { grid-template-columns: 1fr 1fr; gap: 0.5rem; }
  .st-key-figures .figures { grid-template-columns: repeat(4, 1fr); }
  .figures div { padding: 0.625rem 0.75rem; }
  .figures b { font-size: 1.5rem; }
  .figures span { font-size: 0.8125rem; display: block; line-height: 1.25; }
  .refused { grid-template-columns: 9rem 1fr max-content; gap: 0.375rem 0.75rem; }
  .evidence { grid-template-columns: 1fr 6rem; gap: 1rem; padding-top: 1rem; }
  .evidence .bars { height: 6rem; gap: 0.1875rem; }
  .evidence .frame { width: 6rem; height: 6rem; }
}
@media (prefers-reduced-motion: reduce) {
  .st-key-samples .stButton button { transition: none; }
}
"""


def picture_buttons(pictures: Mapping[str, str]) -> str:
    """Rules that show a picture, a ``data:`` URI, on each button with the given key."""
    return "".join(f'.st-key-{key} {{ --picture: url("{uri}"); }}' for key, uri in pictures.items())
