"use strict";
// Draws every plot from the JSON beside it. The JSON holds colours as CSS variables, so only the style sheet knows light,
// dark and print. A plot is redrawn whenever the palette or its width changes.
(() => {
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")].map((node) => ({
    node,
    drawing: node.querySelector(".drawing"),
    spec: JSON.parse(node.querySelector("script").textContent),
  }));

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

  function draw() {
    const palette = getComputedStyle(root);
    for (const { node, drawing, spec } of plots) {
      const width = Math.floor(node.clientWidth);
      if (width === 0) continue;
      const layout = { ...painted(spec.layout, palette), width };
      Plotly.react(drawing, painted(spec.data, palette), layout, { displayModeBar: false, doubleClick: false });
    }
  }

  let waiting = 0;
  function drawSoon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    opened = [...document.querySelectorAll("details:not([open], .bulk)")];
    for (const details of opened) details.open = true;
    draw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    for (const details of opened) details.open = false;
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
  addEventListener("resize", drawSoon);
  draw();
})();
