// A sheet to draw on. What is drawn is kept as strokes, so that the last can be taken back, and goes
// to Python after each as a PNG, dark on white whatever the theme.

const WIDTH = 800, HEIGHT = 440, PEN = 28; // the drawing's pixels; on the page it is scaled to fit
const INK = "#1c2130", PAPER = "#ffffff";

// Streamlit calls this anew whenever the script has run: what must last is kept by the element.
export default function ({ parentElement, setStateValue }) {
  const sheet = parentElement.querySelector("canvas");
  const [undo, clear] = parentElement.querySelectorAll("button");
  const strokes = (sheet.strokes ??= []);

  const show = () => {
    draw(sheet, strokes, getComputedStyle(sheet).color);
    sheet.parentElement.classList.toggle("blank", !strokes.length);
    undo.disabled = clear.disabled = !strokes.length;
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
    strokes.push([place(event)]);
    show();
  };
  sheet.onpointermove = (event) => {
    if (!sheet.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(place(event));
    show();
  };
  sheet.onlostpointercapture = tell;
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
  Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: PEN, strokeStyle: ink });
  for (const points of strokes) {
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
