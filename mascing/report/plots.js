"use strict";
// Draws every plot from the JSON beside it. The JSON holds colours as CSS variables, so only the style sheet knows light,
// dark and print. A plot is redrawn whenever the palette or its width changes, and first drawn when it is unfolded.
(() => {
  const PRINTED = 0.7; // height of a printed plot, as a share of its height on the screen
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")].map((node) => ({
    node,
    drawing: node.querySelector(".drawing"),
    spec: JSON.parse(node.querySelector("script").textContent),
  }));

  // plotly.js is in the page as gzip in base64. Its text is a script like any other; the page's policy allows no text but
  // this.
  function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (byte) => byte.charCodeAt(0));
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(pako.inflate(packed));
    document.head.append(script);
  }

  function painted(value, palette) {
    if (typeof value === "string" && value.startsWith("var(--")) {
      return palette.getPropertyValue(value.slice(4, -1)).trim();
    }
    if (Array.isArray(value)) return value.map((item) => painted(item, palette));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, palette)]));
    }
    return value;
  }

  function draw(some = plots) {
    const palette = getComputedStyle(root);
    for (const { node, drawing, spec } of some) {
      const width = Math.floor(node.clientWidth);
      if (width === 0) continue; // in a fold
      const layout = { ...painted(spec.layout, palette), width };
      if (root.classList.contains("printing")) layout.height = Math.round(PRINTED * layout.height);
      Plotly.react(drawing, painted(spec.data, palette), layout, { displayModeBar: false, doubleClick: false });
    }
  }

  let waiting = 0;
  function drawSoon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => draw());
  }

  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    draw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    draw();
  });
  for (const fold of document.querySelectorAll("details")) {
    const folded = plots.filter(({ node }) => fold.contains(node));
    if (folded.length) fold.addEventListener("toggle", () => draw(folded));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
  addEventListener("resize", drawSoon);
  unpack();
  draw();
})();
