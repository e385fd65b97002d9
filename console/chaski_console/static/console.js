// What needs a script: figures that change while one looks, the keyboard, and boxes that select rows. All else works without.
"use strict";

(() => {
  const live = document.querySelector("[data-live]");
  const byKey = new Map();
  for (const element of document.querySelectorAll("[data-key]")) byKey.set(element.dataset.key, element);

  function show(key, value) {
    const flag = key.endsWith("!");
    const element = byKey.get(flag ? key.slice(0, -1) : key);
    if (!element) return;
    if (flag) element.className = value;
    else if (element instanceof SVGElement) element.setAttribute("d", value);
    else if (element.textContent !== value) element.textContent = value;
  }

  if (live) {
    const source = new EventSource("/live");
    source.onopen = () => live.classList.add("on");
    source.onerror = () => {
      live.classList.remove("on");
      if (source.readyState === EventSource.CLOSED) location.reload(); // refused: the session has ended
    };
    source.onmessage = (event) => {
      const { shape, values } = JSON.parse(event.data);
      if (shape !== live.dataset.live) {
        source.close();
        location.reload();
        return;
      }
      live.classList.add("on");
      for (const [key, value] of Object.entries(values)) show(key, value);
    };
    addEventListener("pagehide", () => source.close());
  }

  const boxes = [...document.querySelectorAll("input[name=id][type=checkbox]")];
  const all = document.querySelector("[data-all]");
  const needing = [...document.querySelectorAll("[data-needs-selection]")];
  function judge() {
    const picked = boxes.filter((box) => box.checked).length;
    for (const button of needing) button.disabled = picked === 0;
    if (all) {
      all.checked = picked > 0 && picked === boxes.length;
      all.indeterminate = picked > 0 && picked < boxes.length;
    }
  }
  for (const box of boxes) box.addEventListener("change", judge);
  if (all) {
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      judge();
    });
  }
  judge();

  const links = [...document.querySelectorAll(".letters tbody a.code")];
  function step(by) {
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
    if (next) next.focus();
  }
  let before = "";
  addEventListener("keydown", (event) => {
    const writing = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && writing) writing.blur();
    if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("find").focus();
    } else if (before === "g" && event.key === "r") location.assign("/");
    else if (before === "g" && event.key === "d") location.assign("/dead-letters");
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    before = event.key;
  });
})();
