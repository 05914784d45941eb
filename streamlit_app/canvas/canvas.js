// A sheet to draw on. What is drawn is kept as strokes, so that the last can be taken back, and goes
// to Python after each as a PNG, dark on white whatever the theme.

const WIDTH = 800, HEIGHT = 440; // the drawing's pixels; on the page it is scaled to fit
const INK = "#1c2130", PAPER = "#ffffff";
const RUBBER = 2; // the eraser's width in widths of the pen

// Streamlit calls this anew whenever the script has run: what must last is kept by the elements.
export default function ({ parentElement, setStateValue }) {
  const sheet = parentElement.querySelector("canvas");
  const [eraser, undo, clear] = parentElement.querySelectorAll("button");
  const pen = parentElement.querySelector("input");
  const strokes = (sheet.strokes ??= []);

  const show = () => {
    draw(sheet, strokes, getComputedStyle(sheet).color);
    sheet.parentElement.classList.toggle("blank", !strokes.length);
    undo.disabled = clear.disabled = eraser.disabled = !strokes.length;
    if (!strokes.length) eraser.ariaPressed = "false";
  };
  const tell = () => {
    show();
    setStateValue("drawing", strokes.length ? picture(strokes) : null);
  };
  const place = (event) => [
    (event.offsetX * WIDTH) / sheet.clientWidth,
    (event.offsetY * HEIGHT) / sheet.clientHeight,
  ];

  sheet.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    sheet.setPointerCapture(event.pointerId);
    const erases = eraser.ariaPressed === "true";
    const width = Number(pen.value) * (erases ? RUBBER : 1);
    strokes.push({ points: [place(event)], width, erases });
    show();
  };
  sheet.onpointermove = (event) => {
    if (!sheet.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).points.push(place(event));
    show();
  };
  sheet.onlostpointercapture = tell;
  eraser.onclick = () => {
    eraser.ariaPressed = eraser.ariaPressed === "true" ? "false" : "true";
  };
  undo.onclick = () => {
    strokes.pop();
    tell();
  };
  clear.onclick = () => {
    strokes.length = 0;
    tell();
  };
  show();
}

// Draw the strokes on an empty canvas, each through the middles between its points.
function draw(canvas, strokes, ink) {
  canvas.width = WIDTH; // which empties it, too
  canvas.height = HEIGHT;
  const pen = canvas.getContext("2d");
  Object.assign(pen, { lineCap: "round", lineJoin: "round", strokeStyle: ink });
  for (const { points, width, erases } of strokes) {
    pen.lineWidth = width;
    pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
    pen.beginPath();
    pen.moveTo(...points[0]);
    points.slice(1).forEach(([x, y], before) => {
      const [fromX, fromY] = points[before];
      pen.quadraticCurveTo(fromX, fromY, (fromX + x) / 2, (fromY + y) / 2);
    });
    pen.lineTo(...points.at(-1));
    pen.stroke();
  }
}

function picture(strokes) {
  const canvas = document.createElement("canvas");
  draw(canvas, strokes, INK);
  const paper = canvas.getContext("2d");
  paper.globalCompositeOperation = "destination-over";
  paper.fillStyle = PAPER;
  paper.fillRect(0, 0, WIDTH, HEIGHT);
  return canvas.toDataURL("image/png");
}
