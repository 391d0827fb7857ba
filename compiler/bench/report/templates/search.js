"use strict";
// Filters what is listed by the words that are typed; without it the page is complete.
const marks = new Map();
for (const mark of document.querySelectorAll(".strip a")) {
  const place = mark.getAttribute("href");
  if (!marks.has(place)) marks.set(place, []);
  marks.get(place).push(mark);
}
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
        for (const mark of marks.get(`#${item.id}`) ?? []) {
          mark.classList.toggle("hit", fits && words.length > 0);
        }
      }
      const fold = fits && words.length && item.closest("details");
      if (fold) fold.open = true;
    }
    told.textContent = words.length ? `${shown} of ${items.length}` : "";
  });
}
