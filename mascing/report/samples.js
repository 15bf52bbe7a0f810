"use strict";
// Filters the samples of replies by set, verdicts and text. Without a filter, the folds stay as the reader left them.
(() => {
  const form = document.getElementById("filter");
  if (form === null) return;
  const groups = [...document.querySelectorAll("#replies .group")].map((node) => ({
    node,
    wasOpen: node.open,
    samples: [...node.querySelectorAll(".sample")].map((sample) => ({
      node: sample,
      text: sample.textContent.toLowerCase(),
    })),
  }));
  const sets = document.querySelectorAll("#replies .set");
  let wasActive = false;

  function filter() {
    const { set, before, after, text } = Object.fromEntries(new FormData(form));
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const active = Boolean(set || before || after || words.length);
    let total = 0, left = 0;
    for (const group of groups) {
      if (active && !wasActive) group.wasOpen = group.node.open;
      let found = 0;
      for (const sample of group.samples) {
        const data = sample.node.dataset;
        sample.node.hidden = !(
          (!set || data.set === set) && (!before || data.before === before) && (!after || data.after === after) &&
          words.every((word) => sample.text.includes(word))
        );
        if (!sample.node.hidden) found += 1;
      }
      group.node.hidden = found === 0;
      group.node.open = active ? found > 0 : group.wasOpen;
      total += group.samples.length;
      left += found;
    }
    for (const node of sets) node.hidden = node.querySelector(".group:not([hidden])") === null;
    form.querySelector("output").textContent = active ? `${left} of ${total} samples` : `${total} samples`;
    wasActive = active;
  }

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
