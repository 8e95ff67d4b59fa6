/* page.js - what the page answers to: toggles, axes, smoothing, pointer, keys, colours. Without it the page shows the
 * same curves as they were drawn when it was made. */
(() => {
  "use strict";
  const root = document.documentElement, get = (id) => document.getElementById(id);
  root.classList.add("scripts");

  /* ---- light and dark ---- */

  const themes = ["auto", "light", "dark"], words = { auto: "Auto", light: "Light", dark: "Dark" };
  const button = get("theme");
  /* Pages of a file, or private ones, may have no storage: the choice then lasts as long as the page. */
  const remembered = () => {
    try {
      return localStorage.getItem("tarn-report-theme");
    } catch {
      return null;
    }
  };
  function setTheme(name) {
    if (name === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", name);
    button.textContent = words[name];
    button.setAttribute("aria-label", "Colours: " + (name === "auto" ? "as the system" : name));
    button.dataset.now = name;
  }
  setTheme(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    setTheme(next);
    try {
      localStorage.setItem("tarn-report-theme", next);
    } catch {}
  });

  /* ---- data and state ---- */

  const data = JSON.parse(get("data").textContent);
  chart.prepare(data);
  const view = { across: "step", scale: "linear", smoothing: 0, zoom: null, clip: true, shown: data.runs.map(() => true) };
  const plots = [...document.querySelectorAll(".panel")].map((figure, i) => {
    const plot = figure.querySelector(".plot");
    plot.id = "plot-" + i;
    plot.tabIndex = 0;
    return { plot, panel: data.panels[Number(figure.dataset.panel)], drawn: null };
  });
  if (!plots.length) get("controls").hidden = true;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;

  function drawAll() {
    hideTip();
    for (const one of plots) one.drawn = chart.draw(one.plot, one.panel, data, view);
    get("whole").hidden = !view.zoom;
  }

  /* ---- controls ---- */

  if (data.runs.length > 1)
    data.runs.forEach((run, index) => {
      const item = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
      const swatch = document.createElement("span"), name = document.createElement("bdi");
      box.type = "checkbox";
      box.checked = true;
      swatch.className = "swatch c" + run.colour;
      name.textContent = run.name;
      name.title = run.name;
      box.addEventListener("change", () => {
        view.shown[index] = box.checked;
        label.classList.toggle("dimmed", !box.checked);
        for (const row of document.querySelectorAll(`.row[data-run="${index}"]`)) row.classList.toggle("off", !box.checked);
        drawAll();
      });
      label.append(box, swatch, name);
      item.append(label);
      get("toggles").append(item);
    });
  for (const radio of document.querySelectorAll(".switch input"))
    radio.addEventListener("change", () => {
      if (view[radio.name] === radio.value) return;
      view[radio.name] = radio.value;
      drawAll();
    });
  const slider = get("smoothing");
  slider.addEventListener("input", () => {
    view.smoothing = Number(slider.value);
    get("smoothing-value").textContent = slider.value;
    drawAll();
  });
  get("clip").addEventListener("change", (event) => {
    view.clip = event.target.checked;
    drawAll();
  });
  get("whole").addEventListener("click", () => setZoom(null));

  function setZoom(range, axis) {
    view.zoom = range && { range, axis };
    drawAll();
  }

  /* ---- the place that is looked at ---- */

  function cell(row, text, className) {
    const element = row.insertCell();
    element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function fillTip(one, found) {
    const shown = (value) => chart.number(Number((value * one.panel.scale).toPrecision(6))), { unit } = one.panel;
    const head = document.createElement("b"), table = document.createElement("table");
    head.textContent = chart.where(one.drawn, found[0]);
    let sum = 0;
    for (const entry of found) {
      const { curve, line, run, several, values, colour } = entry.one, i = entry.index, row = table.insertRow();
      const label = several ? (one.panel.lines.length > 1 ? run.name + " \u00b7 " + line.label : run.name) : line.label;
      const name = cell(row, label), swatch = document.createElement("span");
      swatch.className = "swatch " + colour;
      name.prepend(swatch);
      cell(row, shown(curve.y[i]) + (unit ? "\u202f" + unit : ""));
      sum += curve.y[i];
      if (curve.n && curve.n[i] > 1)
        cell(row, `mean of ${chart.number(curve.n[i])}, ${shown(curve.a[i])} to ${shown(curve.b[i])}`, "muted");
      else if (view.smoothing) cell(row, "smoothed " + shown(Number(values[i].toPrecision(4))), "muted");
      else if (several && chart.where(one.drawn, entry) !== head.textContent) cell(row, chart.where(one.drawn, entry), "muted");
    }
    if (one.panel.stack && found.length > 1) {
      const row = table.insertRow();
      cell(row, "together");
      cell(row, shown(sum) + "\u202f" + unit);
    }
    tip.replaceChildren(head, table);
  }

  function showTip(one, found, x) {
    if (!found.length) {
      tip.hidden = true;
      return;
    }
    fillTip(one, found);
    if (tip.parentNode !== one.plot) one.plot.append(tip);
    tip.hidden = false;
    tip.style.left = "0";
    const width = tip.offsetWidth, room = one.plot.clientWidth, at = one.drawn.across(x);
    const side = at + 16 + width <= room ? at + 16 : at - 16 - width;
    tip.style.left = Math.max(4, Math.min(side, room - width - 4)) + "px";
  }

  function hideTip() {
    tip.hidden = true;
    for (const one of plots) if (one.drawn) chart.point(one.drawn, null);
  }

  let cursor = null;
  function look(one, x) {
    cursor = x;
    for (const other of plots) {
      const found = chart.point(other.drawn, other.drawn.axis === one.drawn.axis ? x : null);
      if (other === one) showTip(one, found, x);
    }
  }

  /* ---- pointer ---- */

  function placeOf(one, event) {
    const box = one.plot.querySelector("svg").getBoundingClientRect(), { drawn } = one;
    const x = (event.clientX - box.left) * (drawn.width / box.width);
    return Math.min(Math.max(x, drawn.left), drawn.width - drawn.right);
  }
  const valueAt = ({ drawn }, x) => drawn.range[0] + (x - drawn.left) / (drawn.width - drawn.left - drawn.right) * (drawn.range[1] - drawn.range[0]);

  for (const one of plots) {
    let from = null, waiting = null;
    one.plot.addEventListener("pointermove", (event) => {
      const x = placeOf(one, event);
      if (from !== null && Math.abs(x - from) > 4) {
        hideTip();
        chart.select(one.drawn, from, x);
        return;
      }
      if (waiting === null) requestAnimationFrame(() => {
        look(one, valueAt(one, waiting));
        waiting = null;
      });
      waiting = x;
    });
    one.plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse") {
        look(one, valueAt(one, placeOf(one, event)));
        return;
      }
      if (event.button !== 0) return;
      from = placeOf(one, event);
      one.plot.setPointerCapture(event.pointerId);
    });
    one.plot.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = placeOf(one, event), begin = from;
      from = null;
      if (Math.abs(to - begin) > 8) setZoom([valueAt(one, Math.min(begin, to)), valueAt(one, Math.max(begin, to))], one.drawn.axis);
    });
    one.plot.addEventListener("pointercancel", () => {
      from = null;
      hideTip();
    });
    one.plot.addEventListener("pointerleave", () => {
      if (from === null && document.activeElement !== one.plot) hideTip();
    });
    one.plot.addEventListener("dblclick", () => setZoom(null));
    one.plot.addEventListener("keydown", (event) => key(one, event));
    one.plot.addEventListener("blur", hideTip);
  }

  /* ---- keys ---- */

  function closer(one, by) {
    const [low, high] = one.drawn.range, middle = cursor !== null && cursor >= low && cursor <= high ? cursor : (low + high) / 2;
    const whole = chart.wholeRange(data, view, one.drawn.axis);
    const range = [Math.max(whole[0], middle - (middle - low) * by), Math.min(whole[1], middle + (high - middle) * by)];
    setZoom(range[0] <= whole[0] && range[1] >= whole[1] ? null : range, one.drawn.axis);
    look(one, middle);
  }

  function key(one, event) {
    const { series, range } = one.drawn;
    if (event.ctrlKey || event.metaKey || event.altKey || !series.length) return;
    const longest = series.reduce((best, other) => (other.places.length > best.places.length ? other : best)).places;
    const index = cursor === null ? -1 : chart.nearest(longest, cursor);
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
    let next = null;
    if (event.key in steps) next = index < 0 ? 0 : index + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = longest.length - 1;
    else if (event.key === "+" || event.key === "=") closer(one, 0.5);
    else if (event.key === "-") closer(one, 2);
    else if (event.key === "Escape") setZoom(null);
    else return;
    event.preventDefault();
    if (next === null) return;
    const x = longest[Math.min(Math.max(next, 0), longest.length - 1)];
    look(one, Math.min(Math.max(x, range[0]), range[1]));
    get("announce").textContent = tip.hidden ? "" : tip.innerText.replace(/\s+/g, " ");
  }

  /* ---- size ---- */

  let width = 0;
  new ResizeObserver(() => {
    const now = document.body.clientWidth;
    if (now === width) return;
    width = now;
    drawAll();
  }).observe(document.body);
  /* Paper is light. */
  addEventListener("beforeprint", () => {
    root.setAttribute("data-theme", "light");
    drawAll();
  });
  addEventListener("afterprint", () => setTheme(button.dataset.now));
  drawAll();
})();
