/* chart.js - draws a panel in the size it has on the screen, and says what lies under the pointer.
 *
 * A group of points is drawn at the middle of its steps (or at the time of its last point), its mean as the line, from
 * its smallest to its largest value as the band. Text of runs is never made into markup: only numbers go into the SVG,
 * names go in as text. */
const chart = (() => {
  "use strict";

  /* ---- numbers as text ---- */

  const minus = (text) => text.replace("-", "\u2212");
  const thousands = (text) => (text.length > 4 ? text.replace(/\B(?=(\d{3})+$)/g, "\u202f") : text);

  function number(value) {
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return minus((value < 0 ? "-" : "") + thousands(String(size)));
    if (size >= 1e6 || size < 1e-4) return minus(value.toExponential(3).replace("e+", "e"));
    return minus(String(Number(value.toPrecision(size >= 1000 ? 6 : 5))));
  }

  /* highest: of the axis, whose numbers are to look alike. */
  function tickNumber(value, highest) {
    const size = Math.abs(value);
    const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
    if (size >= 1e15 || (size > 0 && (highest < 1e-3 || size < 1e-5))) return minus(value.toExponential(1).replace(".0", "").replace("e+", "e"));
    if (size >= 1e4)
      for (const [by, unit] of units) if (size >= by) return minus(Number((value / by).toPrecision(4)) + unit);
    return minus(String(Number(value.toPrecision(4))));
  }

  function duration(seconds) {
    const s = Math.abs(seconds);
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    if (s < 60) return Number(seconds.toFixed(s < 10 ? 1 : 0)) + "\u202fs";
    if (s < 3600) return Math.floor(s / 60) + "\u202fmin" + (Math.floor(s % 60) ? " " + two(s % 60) + "\u202fs" : "");
    if (s < 86400) return Math.floor(s / 3600) + "\u202fh" + (Math.floor(s / 60 % 60) ? " " + two(s / 60 % 60) + "\u202fmin" : "");
    return Math.floor(s / 86400) + "\u202fd" + (Math.floor(s / 3600 % 24) ? " " + Math.floor(s / 3600 % 24) + "\u202fh" : "");
  }

  /* ---- ticks ---- */

  function linearTicks(low, high, wanted, whole) {
    const raw = (high - low) / Math.max(1, wanted), power = 10 ** Math.floor(Math.log10(raw)), ratio = raw / power;
    let distance = power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
    if (whole && distance < 1) distance = 1;
    return multiples(low, high, distance);
  }

  function multiples(low, high, distance) {
    const ticks = [];
    for (let i = Math.ceil(low / distance - 1e-9); i * distance <= high + distance * 1e-9; i++) ticks.push(i * distance);
    return ticks;
  }

  function timeTicks(low, high, wanted) {
    const distances = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
    const raw = (high - low) / Math.max(1, wanted);
    if (raw < 1 || raw > 86400) return raw < 1 ? linearTicks(low, high, wanted) : multiples(low, high, 86400 * Math.ceil(raw / 86400));
    const far = (d) => Math.abs(Math.log(d / raw));
    return multiples(low, high, distances.reduce((best, d) => (far(d) < far(best) ? d : best)));
  }

  function logTicks(low, high, wanted) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), decades = last - first;
    const factors = decades <= 1 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : decades <= 3 ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil(decades / Math.max(1, wanted))), ticks = [];
    for (let e = first; e <= last; e += every)
      for (const f of factors) {
        const tick = f * 10 ** e;
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
      }
    return ticks.length > 1 ? ticks : linearTicks(low, high, wanted);
  }

  /* ---- data ---- */

  /* Places of the groups on both kinds of axis. */
  function prepare(data) {
    for (const run of data.runs)
      for (const curve of Object.values(run.curves)) {
        curve.step = curve.w ? curve.x.map((x, i) => x + curve.w[i] / 2) : curve.x;
        curve.time = curve.t.map((t) => t / 1000);
      }
  }

  /* An average that forgets, without its bias toward the first values. */
  function smooth(values, weight) {
    if (!weight) return values;
    let sum = 0, share = 0;
    return values.map((value) => {
      sum = weight * sum + (1 - weight) * value;
      share = weight * share + (1 - weight);
      return sum / share;
    });
  }

  /* The first index whose place is not below x. */
  function lowerBound(places, x) {
    let low = 0, high = places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function nearest(places, x) {
    const at = lowerBound(places, x);
    if (at === 0) return 0;
    if (at === places.length) return at - 1;
    return x - places[at - 1] <= places[at] - x ? at - 1 : at;
  }

  /* "step" or "time". */
  const axisOf = (panel, view) => (panel.overTime ? "time" : view.across);

  /* What of a panel is shown: a list of {run, line, curve, places, values}. Times of processes may go back (a clock was
   * set): such a curve is put in the order of its times. */
  function seriesOf(panel, data, view) {
    const list = [];
    data.runs.forEach((run, index) => {
      if (!view.shown[index]) return;
      panel.lines.forEach((line, number) => {
        const curve = run.curves[line.key];
        if (!curve) return;
        const several = data.runs.length > 1;
        list.push({
          run, line, curve, several, places: curve[axisOf(panel, view)],
          colour: panel.stack ? "p" + line.part : "c" + (several ? run.colour : number % 8), dash: several && !panel.stack ? number % 4 : 0,
          values: smooth(curve.y, view.smoothing),
        });
      });
    });
    return list;
  }

  /* The range of places of all runs that are shown: the same for every panel of an axis, so that the eye can go from one
   * to the other. Of what is only over time, steps are numbers of samples, which say nothing about steps. */
  function wholeRange(data, view, axis) {
    let low = Infinity, high = -Infinity;
    const keys = new Set(data.panels.filter((panel) => axisOf(panel, view) === axis).flatMap((panel) => panel.lines.map((line) => line.key)));
    data.runs.forEach((run, index) => {
      if (!view.shown[index]) return;
      for (const [key, curve] of Object.entries(run.curves)) {
        if (!keys.has(key)) continue;
        const places = curve[axis];
        for (const place of [places[0], places[places.length - 1]]) {
          low = Math.min(low, place);
          high = Math.max(high, place);
        }
      }
    });
    if (!(low <= high)) return [0, 1];
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  /* Bounds without what lies far outside of nearly all the rest: a first step whose gradient is 100 times the usual one
   * would else be all that a chart shows. What is left out is said under the chart. */
  function clipped(panel, series, range, low, high) {
    const lower = [], upper = [];
    if (panel.stack) {
      for (const i of series.length ? series[0].places.keys() : []) {
        if (series[0].places[i] < range[0] || series[0].places[i] > range[1]) continue;
        lower.push(0);
        upper.push(series.reduce((sum, one) => sum + (one.values[i] ?? 0), 0));
      }
    } else for (const { curve, places, values } of series)
      for (let i = 0; i < places.length; i++) {
        if (places[i] < range[0] || places[i] > range[1]) continue;
        lower.push(curve.a ? curve.a[i] : values[i]);
        upper.push(curve.b ? curve.b[i] : values[i]);
      }
    if (upper.length < 50) return [low, high];
    const order = (a, b) => a - b, least = lower.sort(order)[Math.floor(lower.length * 0.01)];
    const greatest = upper.sort(order)[Math.ceil(upper.length * 0.99) - 1], usual = greatest - least;
    if (!(usual > 0)) return [low, high];
    return [least - low > 3 * usual ? least - 0.1 * usual : low, high - greatest > 3 * usual ? greatest + 0.1 * usual : high];
  }

  function valueRange(panel, series, range, view) {
    let low = Infinity, high = -Infinity, leftOut = 0;
    const log = view.scale === "log" && !panel.stack;
    const take = (value) => {
      if (log && value <= 0) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
    };
    if (panel.stack) {
      const first = series[0];
      for (let i = 0; first && i < first.places.length; i++) {
        if (first.places[i] < range[0] || first.places[i] > range[1]) continue;
        take(series.reduce((sum, one) => sum + (one.values[i] ?? 0), 0));
      }
      low = 0;
    } else
      for (const one of series) {
        const { curve, places, values } = one;
        for (let i = 0; i < places.length; i++) {
          if (places[i] < range[0] || places[i] > range[1]) continue;
          if (log && (curve.a ? curve.a[i] : curve.y[i]) <= 0) leftOut += 1;
          take(values[i]);
          take(curve.a ? curve.a[i] : curve.y[i]);
          take(curve.b ? curve.b[i] : curve.y[i]);
        }
      }
    const whole = [low, high];
    if (view.clip && !log) [low, high] = clipped(panel, series, range, low, high);
    const outside = { low: low > whole[0] ? whole[0] : null, high: high < whole[1] ? whole[1] : null };
    if (!(low <= high)) return { low: log ? 0.1 : 0, high: 1, log, leftOut, outside, none: true };
    if (panel.zero && !log && low > 0) low = 0;
    if (log) {
      if (low === high) (low /= 2), (high *= 2);
      const room = (high / low) ** 0.03;
      return { low: low / room, high: high * room, log, leftOut, outside };
    }
    if (low === high) {
      const room = low === 0 ? 1 : Math.abs(low) / 10;
      (low -= room), (high += room);
    }
    const room = (high - low) * 0.04;
    return { low: low === 0 ? 0 : low - room, high: high + room, log, leftOut, outside };
  }

  /* ---- drawing ---- */

  const f = (value) => value.toFixed(1);

  function pathOf(places, values, across, down, from, to) {
    let path = "", pen = "M";
    for (let i = from; i < to; i++) {
      const y = down(values[i]);
      if (!Number.isFinite(y)) {
        pen = "M";
        continue;
      }
      path += pen + f(across(places[i])) + " " + f(y);
      pen = "L";
    }
    return path;
  }

  /* Draws the panel into the element and returns what `point` needs. */
  function draw(plot, panel, data, view) {
    const width = Math.max(200, plot.clientWidth), wide = plot.closest(".wide") && width > 700;
    const height = wide ? 330 : width < 420 ? 210 : 236;
    const series = seriesOf(panel, data, view);
    const axis = axisOf(panel, view), range = view.zoom && view.zoom.axis === axis ? view.zoom.range : wholeRange(data, view, axis);
    const values = valueRange(panel, series, range, view);
    const { scale } = panel, low = values.low * scale, high = values.high * scale;
    const shown = values.log ? logTicks(low, high, height / 55) : linearTicks(low, high, height / 50, panel.dots);
    const ticks = shown.map((tick) => tick / scale), labels = shown.map((tick) => tickNumber(tick, Math.max(Math.abs(low), Math.abs(high))));
    const left = Math.max(36, 12 + 6.6 * Math.max(0, ...labels.map((label) => label.length))), right = 10, top = 10, bottom = 26;
    const across = (x) => left + (x - range[0]) / (range[1] - range[0]) * (width - left - right);
    const level = values.log ? (y) => Math.log(y) : (y) => y;
    const span = level(values.high) - level(values.low);
    const down = (y) => (values.log && y <= 0 ? NaN : top + (level(values.high) - level(y)) / span * (height - top - bottom));
    const clip = "clip-" + plot.id;
    let svg = `<clipPath id="${clip}"><rect x="${f(left)}" y="0" width="${f(width - left - right)}" height="${height - bottom + 1}"/></clipPath><g class="axis">`;
    ticks.forEach((tick, i) => {
      const y = f(down(tick));
      svg += `<path class="grid" d="M${f(left)} ${y}H${width - right}"/><text class="y" x="${f(left - 8)}" y="${f(down(tick) + 4)}">${labels[i]}</text>`;
    });
    const time = axis === "time", wanted = (width - left) / (time ? 92 : 80);
    for (const tick of time ? timeTicks(range[0], range[1], wanted) : linearTicks(range[0], range[1], wanted, true)) {
      const label = time ? duration(tick) : tickNumber(tick, range[1]), half = label.length * 3.3;
      const x = Math.min(Math.max(across(tick), left), width - half);
      svg += `<text class="x" x="${f(x)}" y="${height - 7}">${label}</text>`;
    }
    svg += `<text class="y unit" x="${f(left - 8)}" y="${height - 7}">${time ? "time" : "step"}</text>`;
    svg += `</g><g clip-path="url(#${clip})">`;
    svg += starts(data, view, axis, range, across, top, height - bottom, wide);
    svg += panel.stack ? stack(series, range, across, down) : [...series].sort((a, b) => a.dash - b.dash).map((one) => curve(one, range, across, down, view, height - bottom, panel)).join("");
    svg += `</g><g class="pointer"></g>`;
    const element = plot.querySelector("svg");
    element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    element.innerHTML = svg;
    note(plot, series, values, panel);
    return { plot, panel, axis, series, range, across, down, left, right, top, bottom, width, height, view, pointer: element.querySelector(".pointer") };
  }

  /* Lines where a run began again. A label has the room up to the next line, or the edge, and is there as far as it has
   * room: whole, without the ranks, or not at all. */
  function starts(data, view, axis, range, across, top, bottom, labelled) {
    let svg = "";
    data.runs.forEach((run, index) => {
      if (!view.shown[index]) return;
      const places = run.starts.map((start) => (axis === "time" ? start.time / 1000 : start.step));
      run.starts.forEach((start, i) => {
        if (places[i] < range[0] || places[i] > range[1]) return;
        const x = across(places[i]), next = Math.min(range[1], ...places.filter((place, k) => place > places[i] || (place === places[i] && k > i)));
        svg += `<path class="start${data.runs.length > 1 ? " faint" : ""}" d="M${f(x)} ${top}V${bottom}"/>`;
        if (!labelled || data.runs.length > 1) return;
        const words = ["\u21bb restart" + (start.ranks ? ` \u00b7 ${Number(start.ranks)} rank${start.ranks === 1 ? "" : "s"}` : ""), "\u21bb restart"];
        const label = words.find((text) => 8 + text.length * 6.4 < across(next) - x);
        if (label) svg += `<text class="start-label" x="${f(x + 5)}" y="${top + 10}">${label}</text>`;
      });
    });
    return svg;
  }

  /* The groups that reach into the range, and one on either side. */
  function slice(places, range) {
    return [Math.max(0, lowerBound(places, range[0]) - 1), Math.min(places.length, lowerBound(places, range[1]) + 2)];
  }

  /* floor: where a band ends that reaches to 0 or below on a logarithmic axis. */
  function curve(one, range, across, down, view, floor, panel) {
    const { curve, places, values } = one, [from, to] = slice(places, range);
    /* Of several lines a run, the dashed ones lie over the solid one, which steps back. */
    const layer = one.several && panel.lines.length > 1 ? (one.dash ? " over" : " under") : "";
    let svg = `<g class="curve ${one.colour} d${one.dash}${layer}">`;
    if (curve.a && !panel.dots) {
      let upper = "", lower = "";
      for (let i = from; i < to; i++) {
        const b = down(curve.b[i]), a = down(curve.a[i]);
        if (!Number.isFinite(b)) continue;
        upper += (upper ? "L" : "M") + f(across(places[i])) + " " + f(b);
        lower = "L" + f(across(places[i])) + " " + f(Number.isFinite(a) ? a : floor) + lower;
      }
      if (upper) svg += `<path class="band" d="${upper}${lower}Z"/>`;
    }
    if (view.smoothing && to - from > 2 && !panel.dots) svg += `<path class="raw" d="${pathOf(places, curve.y, across, down, from, to)}"/>`;
    if (!panel.dots) svg += `<path class="line" d="${pathOf(places, values, across, down, from, to)}"/>`;
    if (panel.dots || to - from <= 40)
      for (let i = from; i < to; i++) {
        const y = down(values[i]);
        if (Number.isFinite(y)) svg += `<circle cx="${f(across(places[i]))}" cy="${f(y)}" r="${panel.dots ? 1.8 : layer ? 3 : 2.5}"/>`;
      }
    return svg + "</g>";
  }

  function stack(series, range, across, down) {
    if (!series.length) return "";
    const places = series[0].places, [from, to] = slice(places, range);
    let below = new Array(places.length).fill(0), svg = "";
    for (const one of series) {
      if (one.places.length !== places.length) continue;
      const above = below.map((sum, i) => sum + one.values[i]);
      let path = pathOf(places, above, across, down, from, to);
      for (let i = to - 1; i >= from; i--) path += "L" + f(across(places[i])) + " " + f(down(below[i]));
      svg += `<path class="part ${one.colour}" d="${path}Z"/>`;
      below = above;
    }
    return svg;
  }

  /* Words under or in place of the curves. */
  function note(plot, series, values, panel) {
    let text = "";
    if (!series.length) text = "None of the runs that are shown has recorded this.";
    else if (values.none) text = values.log ? "Nothing above 0 here: choose the linear axis." : "Nothing in this range.";
    else if (values.leftOut) text = `${values.leftOut} value${values.leftOut === 1 ? "" : "s"} of 0 or less cannot stand on a logarithmic axis.`;
    const { outside } = values, shown = (value) => number(Number((value * panel.scale).toPrecision(4))) + (panel.unit ? "\u202f" + panel.unit : "");
    const ends = [outside.low !== null && "down to " + shown(outside.low), outside.high !== null && "up to " + shown(outside.high)].filter(Boolean);
    if (ends.length) text += (text ? " " : "") + "Outliers are clipped: values reach " + ends.join(" and ") + ".";
    let line = plot.querySelector(".left-out");
    if (!line && text) {
      line = document.createElement("p");
      line.className = "left-out";
      plot.append(line);
    }
    if (line) {
      line.textContent = text;
      line.hidden = !text;
    }
  }

  /* ---- what lies at a place ---- */

  /* The groups nearest to a place, of every curve that reaches it. */
  function at(drawn, x) {
    const found = [];
    for (const one of drawn.series) {
      if (!one.places.length) continue;
      const first = one.places[0], last = one.places[one.places.length - 1], slack = (drawn.range[1] - drawn.range[0]) * 0.02;
      if (x < first - slack || x > last + slack) continue;
      const index = nearest(one.places, x);
      found.push({ one, index });
    }
    return found;
  }

  /* Shows a line at x, with dots on the curves; nothing when x is null. */
  function point(drawn, x) {
    if (x === null || x < drawn.range[0] || x > drawn.range[1]) {
      drawn.pointer.textContent = "";
      return [];
    }
    const found = at(drawn, x), place = found.length ? drawn.across(found[0].one.places[found[0].index]) : drawn.across(x);
    let svg = `<path class="cross" d="M${f(place)} ${drawn.top}V${drawn.height - drawn.bottom}"/>`;
    if (!drawn.panel.stack)
      for (const { one, index } of found) {
        const cx = drawn.across(one.places[index]), cy = drawn.down(one.values[index]);
        if (Number.isFinite(cy) && cx >= drawn.left - 1 && cx <= drawn.width - drawn.right + 1)
          svg += `<circle class="dot ${one.colour}" cx="${f(cx)}" cy="${f(cy)}" r="4"/>`;
      }
    drawn.pointer.innerHTML = svg;
    return found;
  }

  /* Marks what a drag has chosen; pixels. */
  function select(drawn, from, to) {
    drawn.pointer.innerHTML = `<rect class="selected" x="${f(Math.min(from, to))}" y="${drawn.top}" width="${f(Math.abs(to - from))}" height="${drawn.height - drawn.top - drawn.bottom}"/>`;
  }

  /* Where a group is, in words. */
  function where(drawn, { one, index }) {
    const { curve } = one, first = curve.x[index], last = first + (curve.w ? curve.w[index] : 0);
    const step = first === last ? "step " + number(first) : "steps " + number(first) + "\u2013" + number(last);
    if (drawn.panel.overTime) return duration(curve.time[index]);
    return drawn.axis === "time" ? duration(curve.time[index]) + " \u00b7 " + step : step;
  }

  return { prepare, draw, point, select, where, wholeRange, number, duration, nearest };
})();
