"use strict";
// Filters what has data-find by the words that are typed; without it the page is complete.
for (const box of document.querySelectorAll("[data-filter]")) {
  const field = box.querySelector("input");
  const told = box.querySelector("output");
  const items = document.querySelectorAll(box.dataset.filter);
  box.hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const text = item.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      item.hidden = !fits;
      shown += fits;
      if (item.id) {
        for (const mark of document.querySelectorAll(`a[href="#${item.id}"]`)) {
          mark.classList.toggle("hit", fits && words.length > 0);
        }
      }
      const fold = fits && words.length && item.closest("details");
      if (fold) fold.open = true;
    }
    told.textContent = words.length ? `${shown} of ${items.length}` : "";
  });
}
