// A table whose answers can be typed over. What is written goes to Python with the row's place, and
// comes back as the truth that stands there instead of what was read.

// Streamlit calls this anew whenever the script has run: a table that is the same stays as it is,
// and with it what has the keyboard.
export default function ({ parentElement, data, setTriggerValue }) {
  const place = parentElement.querySelector(".rows");
  if (place.shown !== data.html) {
    place.innerHTML = place.shown = data.html;
  }
  const fields = [...place.querySelectorAll("input")];
  fields.forEach((field, at) => {
    const truth = data.truths[field.name];
    if (field !== document.activeElement) field.value = truth ?? field.defaultValue;
    field.parentElement.dataset.was = truth ? field.defaultValue || "–" : "";

    field.oninput = () => {
      field.value = [...field.value].filter((it) => it === " " || data.marks.includes(it)).join("");
    };
    field.onchange = () => {
      setTriggerValue("written", { place: Number(field.name), written: field.value });
    };
    field.onkeydown = (event) => {
      // The last field is left, so that it shows the correction as it was taken.
      if (event.key === "Enter") fields[at + 1] ? fields[at + 1].focus() : field.blur();
      if (event.key === "Escape") field.value = truth ?? field.defaultValue;
    };
  });
}
