// Live figures, keyboard shortcuts and row selection. The pages work without this script.
"use strict";

(() => {
  const live = document.querySelector("[data-live]");
  const byKey = new Map();
  for (const element of document.querySelectorAll("[data-key]")) byKey.set(element.dataset.key, element);

  function update(key, value) {
    const isClass = key.endsWith("!");
    const element = byKey.get(isClass ? key.slice(0, -1) : key);
    if (!element) return;
    if (isClass) element.className = value;
    else if (element instanceof SVGElement) element.setAttribute("d", value);
    else if (element.textContent !== value) element.textContent = value;
  }

  if (live) {
    const source = new EventSource("/live");
    source.onopen = () => live.classList.add("on");
    source.onerror = () => {
      live.classList.remove("on");
      if (source.readyState === EventSource.CLOSED) location.reload(); // denied: the session has ended
    };
    source.onmessage = (event) => {
      const { layout, values } = JSON.parse(event.data);
      if (layout !== live.dataset.live) {
        source.close();
        location.reload();
        return;
      }
      live.classList.add("on");
      for (const [key, value] of Object.entries(values)) update(key, value);
    };
    addEventListener("pagehide", () => source.close());
  }

  const boxes = [...document.querySelectorAll("input[name=id][type=checkbox]")];
  const selectAll = document.querySelector("[data-all]");
  const buttons = [...document.querySelectorAll("[data-needs-selection]")];
  function updateSelection() {
    const selected = boxes.filter((box) => box.checked).length;
    for (const button of buttons) button.disabled = selected === 0;
    if (selectAll) {
      selectAll.checked = selected > 0 && selected === boxes.length;
      selectAll.indeterminate = selected > 0 && selected < boxes.length;
    }
  }
  for (const box of boxes) box.addEventListener("change", updateSelection);
  if (selectAll) {
    selectAll.addEventListener("change", () => {
      for (const box of boxes) box.checked = selectAll.checked;
      updateSelection();
    });
  }
  updateSelection();

  const links = [...document.querySelectorAll(".dead-letters tbody a.code")];
  function focusRow(step) {
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
    if (next) next.focus();
  }
  let previousKey = "";
  addEventListener("keydown", (event) => {
    const field = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && field) field.blur();
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("find").focus();
    } else if (previousKey === "g" && event.key === "r") location.assign("/");
    else if (previousKey === "g" && event.key === "d") location.assign("/dead-letters");
    else if (event.key === "j") focusRow(1);
    else if (event.key === "k") focusRow(-1);
    previousKey = event.key;
  });
})();
