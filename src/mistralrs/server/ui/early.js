// Runs before the first paint, so that neither the colors nor the side bar jump.
try {
  const read = (name) => JSON.parse(localStorage.getItem(`mistralrs.${name}`));
  document.documentElement.dataset.theme = read("settings")?.theme ?? "";
  document.documentElement.dataset.sidebar = read("sidebar") ?? "open";
} catch {
  // Storage is blocked or spoilt: the page starts with its defaults.
}
