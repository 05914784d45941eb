// A camera that looks at paper: the one on the back of a phone first, at the resolution that
// writing needs, and never mirrored. A photo goes to Python as a JPEG.

const SIDE = { width: { ideal: 1920 }, height: { ideal: 1440 } };
const QUALITY = 0.92;
const WHY = {
  NotAllowedError: "The browser may not use the camera. Allow it beside the address, and try again.",
  NotFoundError: "There is no camera here. Upload a picture instead.",
  NotReadableError: "Another program uses the camera. Close it, and try again.",
};

// Streamlit calls this anew whenever the script has run: what must last is kept by the element.
export default function ({ parentElement, setStateValue }) {
  const video = parentElement.querySelector("video");
  const photo = parentElement.querySelector("img");
  const words = parentElement.querySelector(".hint");
  const [shutter, other] = parentElement.querySelectorAll("button");

  const show = () => {
    photo.hidden = !photo.src;
    video.hidden = !!photo.src;
    shutter.textContent = photo.src ? "Take another" : "Take photo";
    shutter.disabled = !photo.src && !video.videoWidth;
  };
  const stop = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  const start = async () => {
    stop();
    words.textContent = "";
    try {
      // Only https and localhost have one.
      if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
      const facingMode = { ideal: video.facing };
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode, ...SIDE } });
      if (!video.isConnected) return stream.getTracks().forEach((track) => track.stop());
      video.srcObject = stream;
      await video.play();
      const cameras = await navigator.mediaDevices.enumerateDevices();
      other.hidden = cameras.filter((it) => it.kind === "videoinput").length < 2;
    } catch (error) {
      words.textContent = WHY[error.name] ?? "The camera cannot be used. Upload a picture instead.";
    }
    show();
  };

  video.onloadeddata = show;
  shutter.onclick = () => {
    if (photo.src) {
      photo.removeAttribute("src");
      setStateValue("photo", null);
      start();
      return;
    }
    photo.src = picture(video);
    stop();
    show();
    setStateValue("photo", photo.src);
  };
  other.onclick = () => {
    video.facing = video.facing === "user" ? "environment" : "user";
    start();
  };
  if (!video.facing) {
    video.facing = "environment";
    start();
  }
  show();
  return stop; // when it is taken off the page
}

function picture(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/jpeg", QUALITY);
}
