/** Images of the user: read, made smaller where they are huge, and turned into data: URLs. */

const EDGE = 1536; // pixels; models make larger images smaller anyway, and the browser's storage is small
const KEPT = ["image/png", "image/jpeg", "image/webp", "image/gif"]; // sent as they are
const BYTES = 1 << 20;

/** The image files among what was chosen, pasted or dropped. */
export function imagesOf(transfer) {
  return [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));
}

/** Return an image file as a data: URL; throws where the browser cannot read it. */
export async function dataUrl(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= BYTES && KEPT.includes(file.type)) return encoded(file);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // a JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
