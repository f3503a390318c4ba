"use strict";
/* Asks /status.json for figures and shows them. Everything that comes from there is put in as text, never as markup. */
(() => {
  const POLL_MS = 2000;
  const TIMEOUT_MS = 10000;
  const ROWS_AT_FIRST = 100;
  const WAITERS = 12;
  const DATABASES = 20;
  const SAMPLES_AT_FIRST = 24; /* until there are more the charts show two minutes */
  const RATE_WINDOW_MS = 15000;
  const SVG = "http://www.w3.org/2000/svg";

  const $ = (id) => document.getElementById(id);
  const children = new WeakMap(); /* by parent: its elements by key */
  const pools = new Map(); /* by key: what the last figures were, and those of a while ago */
  let shown = null;
  let lostSince = null;
  let showAll = false;
  let lastVerdict = "";

  /* --- words --- */

  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const plural = (n, one, many) => `${whole.format(n)} ${n === 1 ? one : many}`;

  function rate(n) {
    if (n === null) return "–";
    if (n >= 10000) return `${(n / 1000).toFixed(n >= 100000 ? 0 : 1)}k`;
    return n >= 10 || n === 0 ? whole.format(n) : n.toFixed(1);
  }

  function span(us) {
    if (us === null) return "–";
    if (us >= 3600e6) return `${Math.floor(us / 3600e6)} h ${Math.floor(us / 60e6) % 60} min`;
    if (us >= 60e6) return `${Math.floor(us / 60e6)} min ${Math.floor(us / 1e6) % 60} s`;
    if (us >= 10e6) return `${Math.round(us / 1e6)} s`;
    if (us >= 1e6) return `${(us / 1e6).toFixed(1)} s`;
    if (us >= 10000) return `${Math.round(us / 1000)} ms`;
    if (us >= 1000) return `${(us / 1000).toFixed(1)} ms`;
    return us === 0 ? "0" : `${(us / 1000).toFixed(2)} ms`;
  }

  function since(ms) {
    const s = Math.floor(ms / 1000);
    if (s >= 172800) return `${Math.floor(s / 86400)} days`;
    if (s >= 7200) return `${Math.floor(s / 3600)} h`;
    return s >= 120 ? `${Math.floor(s / 60)} min` : `${s} s`;
  }

  const clock = (ms) => new Date(ms).toLocaleTimeString([], { hourCycle: "h23" });
  const bytes = (n) => n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`;

  /* --- elements --- */

  function make(tag, className, text) {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  }

  function setText(e, text) {
    if (e.textContent !== text) e.textContent = text;
  }

  /* "database / user", in this order also when the names are written from right to left. */
  function setPoolName(e, { database, user }) {
    if (!e.firstChild) e.append(make("bdi"), " / ", make("bdi"));
    setText(e.firstChild, database);
    setText(e.lastChild, user);
  }

  /* The same for a name in a sentence. */
  const isolated = (name) => (/[\u0590-\u08ff\ufb1d-\ufefc]/.test(name) ? `\u2068${name}\u2069` : name);

  function setClass(e, name) {
    if (e.className !== name) e.className = name;
  }

  /* Makes @parent's children those of @items: the same elements for the same keys, so that focus, selection and scroll
   * stay where they are. */
  function keyed(parent, items, keyOf, create, update) {
    const old = children.get(parent) || new Map();
    const rows = new Map();
    let at = parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      const row = old.get(key) || create(item);
      rows.set(key, row);
      update(row, item);
      if (row === at) {
        at = at.nextElementSibling;
      } else {
        parent.insertBefore(row, at);
      }
    }
    for (const [key, row] of old) {
      if (!rows.has(key)) row.remove();
    }
    children.set(parent, rows);
  }

  /* --- figures --- */

  function records(columns, rows) {
    return rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  }

  function quantile(bounds, cells, share) {
    const n = cells.reduce((a, b) => a + b, 0);
    let below = 0;
    for (let i = 0; i < cells.length && n > 0; i++) {
      if (cells[i] > 0 && below + cells[i] >= n * share) {
        if (i >= bounds.length) return bounds[bounds.length - 1];
        const from = i === 0 ? 0 : bounds[i - 1];
        return from + (bounds[i] - from) * (n * share - below) / cells[i];
      }
      below += cells[i];
    }
    return null;
  }

  /* What a pool did in the last RATE_WINDOW_MS or so, from the growth of its counters. */
  function follow(p, at, bounds) {
    const key = `${p.database}\u0000${p.user}`;
    const total = p.cells.reduce((a, b) => a + b, 0);
    const past = pools.get(key) || [];
    if (past.length > 0 && past[past.length - 1].total > total) past.length = 0; /* it began anew */
    past.push({ at, total, errors: p.errors, cells: p.cells });
    while (past.length > 2 && past[1].at <= at - RATE_WINDOW_MS) past.shift();
    pools.set(key, past);
    p.key = key;
    p.rate = p.errorRate = p.p95 = null;
    const then = past[0];
    if (at > then.at) {
      const seconds = (at - then.at) / 1000;
      p.rate = (total - then.total) / seconds;
      p.errorRate = (p.errors - then.errors) / seconds;
      p.p95 = quantile(bounds, p.cells.map((n, i) => n - (then.cells[i] || 0)), 0.95);
    }
    p.used = p.sv_active + p.sv_being_canceled + p.sv_tested;
    p.idle = p.sv_idle + p.sv_used;
    p.max = Math.max(p.max_size, p.size);
  }

  function trouble(p) {
    return (p.error ? 1e12 : 0) + (p.cl_waiting > 0 ? 1e9 + p.max_wait_us : 0) + p.cl_waiting +
      (p.max_size > 0 ? p.used / p.max_size : 0) * 1000 + (p.errorRate || 0);
  }

  const byName = (a, b) => a.database.localeCompare(b.database) || a.user.localeCompare(b.user);
  const orders = {
    trouble: (a, b) => trouble(b) - trouble(a) || byName(a, b),
    name: byName,
    waiting: (a, b) => b.cl_waiting - a.cl_waiting || byName(a, b),
    use: (a, b) => b.used / (b.max || 1) - a.used / (a.max || 1) || byName(a, b),
    rate: (a, b) => b.rate - a.rate || byName(a, b),
    p95: (a, b) => b.p95 - a.p95 || byName(a, b),
  };

  const sum = (list, name) => list.reduce((n, p) => n + p[name], 0);

  function showFigures(s, history) {
    const last = history[history.length - 1];
    const waiting = sum(s.pools, "cl_waiting");
    const longest = Math.max(0, ...s.pools.map((p) => p.max_wait_us));
    const limit = s.pools.some((p) => p.max_size === 0) ? 0 : sum(s.pools, "max_size");
    const rows = [
      ["Clients", whole.format(s.clients), `of ${whole.format(s.max_clients)} allowed`, s.clients >= s.max_clients],
      ["Clients waiting", whole.format(waiting), waiting > 0 ? `longest ${span(longest)}` : "none", waiting > 0],
      ["Server connections", whole.format(sum(s.pools, "size")),
        `${whole.format(sum(s.pools, "used"))} used${limit > 0 ? `, at most ${whole.format(limit)}` : ""}`, false],
      ["Queries per second", last ? rate(last.queries / last.span_us * 1e6) : "–",
        last ? `${rate(last.transactions / last.span_us * 1e6)} transactions` : "", false],
      ["Query time, p95", last && last.queries > 0 ? span(last.p95) : "–",
        last && last.queries > 0 ? `p99 ${span(last.p99)}` : "", false],
      ["Memory", bytes(s.rss_bytes), `running for ${since(s.now_ms - s.started_ms)}`, false],
    ];
    keyed($("figures"), rows, (r) => r[0], (r) => {
      const e = make("div");
      e.append(make("dt", "", r[0]), make("dd"));
      e.lastChild.append(make("span"), make("small"));
      return e;
    }, (e, r) => {
      setClass(e, r[3] ? "hot" : "");
      setText(e.lastChild.firstChild, r[1]);
      setText(e.lastChild.lastChild, r[2]);
    });
  }

  function problems(s) {
    const found = [];
    if (s.state !== "active") found.push(["warn", `pgpoold is ${s.state}: clients wait.`]);
    for (const d of s.databases) {
      if (d.state === "paused" && s.state === "active") found.push(["warn", `Database ${isolated(d.name)} is paused: its clients wait.`]);
      if (d.state === "disabled") found.push(["warn", `Database ${isolated(d.name)} is disabled: it takes no new clients.`]);
    }
    for (const p of [...s.pools].sort(orders.trouble)) {
      const name = `${isolated(p.database)} / ${isolated(p.user)}`;
      if (p.error) found.push(["bad", `${name}: no server connection can be opened: ${p.error}`]);
      if (p.cl_waiting > 0 && p.max_wait_us >= 1e6) {
        const why = p.max_size > 0 && p.used >= p.max_size ? `all ${plural(p.max_size, "server connection is", "server connections are")} in use`
          : p.sv_login > 0 ? "server connections are being opened" : "";
        found.push(["warn", `${name}: ${plural(p.cl_waiting, "client waits", "clients wait")}, the longest for ${span(p.max_wait_us)}` +
          (why ? `; ${why}.` : ".")]);
      }
      if (p.dropped > 0 && p.cl_waiting === 0 && p.hubs === 0 && p.subscriptions > 0) found.push(["bad", `${name}: the connection that listens is lost.`]);
    }
    if (s.clients >= 0.9 * s.max_clients) found.push(["warn", `${whole.format(s.clients)} of ${whole.format(s.max_clients)} client connections are taken (max_client_conn).`]);
    return found;
  }

  /* Read aloud, hence touched only when the kind of trouble changes, not with each figure in it. */
  function showVerdict(s) {
    const found = problems(s);
    const kind = found.length === 0 ? "good" : found.some((f) => f[0] === "bad") ? "bad" : "warn";
    const items = found.slice(0, 5);
    const title = found.length === 0 ? "Nothing needs attention" : plural(found.length, "thing needs attention", "things need attention");
    const gist = kind + items.map((f) => f[1].replace(/[\d.,]+/g, "#")).join();
    const box = $("verdict");
    setClass(box, `verdict ${kind}`);
    box.setAttribute("aria-live", gist === lastVerdict ? "off" : "polite");
    lastVerdict = gist;
    setText($("verdict-title"), title);
    const list = items.map((f) => f[1]);
    if (found.length > items.length) list.push(`and ${found.length - items.length} more, see the pools below`);
    keyed($("verdict-list"), list.map((text, i) => ({ text, i })), (x) => x.i, () => make("li"), (e, x) => setText(e, x.text));
  }

  /* --- charts --- */

  const charts = [
    { title: "Throughput", unit: (v) => `${rate(v)}/s`, fill: true, lines: [
      ["queries", (h) => h.queries / h.span_us * 1e6], ["transactions", (h) => h.transactions / h.span_us * 1e6]] },
    { title: "Query time", unit: span, idle: (h) => h.queries === 0, lines: [
      ["p50", (h) => h.p50], ["p95", (h) => h.p95], ["p99", (h) => h.p99]] },
    { title: "Queue", unit: (v) => whole.format(v), fill: true, lines: [["clients waiting", (h) => h.cl_waiting]],
      extra: ["wait p95", (h) => span(h.wait_p95)] },
    { title: "Server connections", unit: (v) => whole.format(v), fill: true, lines: [
      ["used", (h) => h.sv_active], ["idle", (h) => h.sv_idle]] },
  ];

  function svg(tag, className) {
    const e = document.createElementNS(SVG, tag);
    if (className) e.setAttribute("class", className);
    return e;
  }

  function makeChart(c) {
    const figure = make("figure");
    const caption = make("figcaption");
    const picture = svg("svg");
    picture.setAttribute("viewBox", "0 0 120 50");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    for (const y of [0, 25, 50]) {
      const line = svg("line", "grid");
      for (const [name, value] of [["x1", 0], ["x2", 120], ["y1", y], ["y2", y]]) line.setAttribute(name, value);
      picture.append(line);
    }
    c.area = c.fill ? svg("polygon", "fill s0") : null;
    if (c.area) picture.append(c.area);
    c.curves = c.lines.map((_, i) => svg("polyline", `curve s${i}`));
    picture.append(...c.curves);
    c.top = make("span", "top");
    caption.append(make("span", "", c.title), c.top);
    const keys = make("div", "keys");
    c.values = c.lines.map(([name], i) => {
      const item = make("span");
      const value = make("b");
      item.append(make("i", `s${i}`), `${name} `, value);
      keys.append(item);
      return value;
    });
    if (c.extra) {
      const item = make("span", "", `${c.extra[0]} `);
      c.extraValue = make("b");
      item.append(c.extraValue);
      keys.append(item);
    }
    c.picture = picture;
    figure.append(caption, picture, keys);
    return figure;
  }

  function drawChart(c, history) {
    const last = history[history.length - 1];
    const series = c.lines.map(([, value]) => history.map((h) => (c.idle && c.idle(h) ? null : value(h))));
    const top = Math.max(0, ...series.flat().filter((v) => v !== null));
    const scale = top > 0 ? 47 / top : 0;
    const wide = 120 / Math.max(history.length - 1, SAMPLES_AT_FIRST);
    const x = (i) => 120 - (history.length - 1 - i) * wide;
    const points = (values) => values.map((v, i) => (v === null ? null : `${x(i).toFixed(1)},${(50 - v * scale).toFixed(2)}`)).filter((p) => p !== null);
    series.forEach((values, k) => {
      const list = points(values);
      c.curves[k].setAttribute("points", list.join(" "));
      setText(c.values[k], last && values[values.length - 1] !== null ? c.unit(values[values.length - 1]) : "–");
      if (k === 0 && c.area) c.area.setAttribute("points", list.length > 1 ? `${x(0)},50 ${list.join(" ")} 120,50` : "");
    });
    if (c.extra) setText(c.extraValue, last ? c.extra[1](last) : "–");
    setText(c.top, history.length > 0 ? `peak ${c.unit(top)}` : "");
    c.picture.setAttribute("aria-label", `${c.title}: ` + (last
      ? c.lines.map(([name], k) => `${name} ${c.values[k].textContent}`).join(", ") + `, peak ${c.unit(top)}` : "no figures yet"));
  }

  function showCharts(history) {
    if (!$("charts").firstChild) $("charts").append(...charts.map(makeChart));
    const covered = Math.max(history.length - 1, SAMPLES_AT_FIRST) * 5 / 60;
    setText($("charts-heading"), `Last ${plural(Math.round(covered), "minute", "minutes")}`);
    for (const c of charts) drawChart(c, history);
  }

  /* --- tables --- */

  function makePool(p) {
    const row = make("tr");
    const head = make("th");
    head.scope = "row";
    head.append(make("span"), make("small"));
    setPoolName(head.firstChild, p);
    const use = make("td", "wide");
    const meter = make("div", "meter");
    meter.setAttribute("aria-hidden", "true");
    for (const kind of ["used", "idle", "opening", "waiting"]) meter.append(make("span", kind));
    use.append(meter, make("small"));
    row.setAttribute("role", "row"); /* said again: on a phone these are no table cells for the style sheet */
    head.setAttribute("role", "rowheader");
    use.setAttribute("role", "cell");
    row.append(head, use);
    for (const label of ["Waiting", "Longest wait", "Clients", "Queries/s", "p95", "Errors/s"]) {
      const cell = make("td", "num");
      cell.dataset.label = label;
      cell.setAttribute("role", "cell");
      row.append(cell);
    }
    return row;
  }

  function updatePool(row, p) {
    const [head, use, waiting, longest, clients, queries, p95, errors] = row.children;
    const limits = [];
    if (p.replication > 0) limits.push(`${p.replication} replicating`);
    setText(head.lastChild, p.error ? p.error : [`${p.mode} mode`, ...limits].join(", "));
    setClass(head.lastChild, p.error ? "bad" : "");
    const opening = p.sv_login;
    const room = Math.max(p.max, p.used + p.idle + opening, 1);
    const queue = Math.min(p.cl_waiting, room);
    [p.used, p.idle, opening, queue].forEach((n, i) => {
      use.firstChild.children[i].style.width = `${100 * n / (room + queue)}%`;
    });
    use.firstChild.children[3].hidden = queue === 0;
    const parts = [`${whole.format(p.used)} used`, `${whole.format(p.idle)} idle`];
    if (opening > 0) parts.push(`${whole.format(opening)} being opened`);
    setText(use.lastChild, `${parts.join(", ")} of ${p.max_size > 0 ? whole.format(p.max_size) : "any number"}` +
      (p.reserve_size > 0 ? ` + ${whole.format(p.reserve_size)}` : ""));
    const cell = (e, text, kind) => { setText(e, text); setClass(e, kind); };
    cell(waiting, whole.format(p.cl_waiting), p.cl_waiting > 0 ? "num hot" : "num zero");
    cell(longest, p.cl_waiting > 0 ? span(p.max_wait_us) : "–", p.max_wait_us >= 1e6 ? "num hot" : "num zero");
    cell(clients, whole.format(p.cl_active + p.cl_waiting), "num less");
    cell(queries, rate(p.rate), p.rate ? "num" : "num zero");
    cell(p95, span(p.p95), p.p95 === null ? "num zero" : "num");
    cell(errors, rate(p.errorRate), p.errorRate > 0 ? "num less bad" : "num less zero");
  }

  function showPools() {
    const words = $("filter").value.toLowerCase().split(/[\s/]+/).filter((w) => w !== "");
    const fits = shown.pools.filter((p) => words.every((w) => p.database.toLowerCase().includes(w) || p.user.toLowerCase().includes(w)));
    const list = fits.sort(orders[$("order").value]);
    const visible = showAll ? list : list.slice(0, ROWS_AT_FIRST);
    keyed($("pools").tBodies[0], visible, (p) => p.key, makePool, updatePool);
    setText($("pools-count"), fits.length === shown.pools.length ? whole.format(fits.length)
      : `${whole.format(fits.length)} of ${whole.format(shown.pools.length)}`);
    $("more").hidden = list.length <= ROWS_AT_FIRST;
    setText($("more"), showAll ? `Show the first ${ROWS_AT_FIRST}` : `Show all ${whole.format(list.length)}`);
  }

  function cells(row, texts) {
    texts.forEach((text, i) => {
      if (text === null) return;
      const small = Array.isArray(text);
      const e = row.children[i];
      if (small && !e.firstElementChild) e.append(make("span"), make("small"));
      if (small) {
        setPoolName(e.firstChild, text[0]);
        setText(e.lastChild, text[1]);
      } else {
        setText(e, text);
      }
    });
  }

  function table(id, list, keyOf, classes, texts) {
    keyed($(id).tBodies[0], list, keyOf, () => {
      const row = make("tr");
      const head = make("th");
      head.scope = "row";
      row.append(head, ...classes.map((name) => make("td", name)));
      return row;
    }, (row, item) => cells(row, texts(item)));
    const none = $(`${id}-none`);
    if (none) {
      none.hidden = list.length > 0;
      $(id).hidden = list.length === 0;
    }
  }

  const stateClass = { ok: "chip good", unused: "chip", unreachable: "chip bad", paused: "chip warn", disabled: "chip warn" };

  function showTables(s) {
    table("waiters", s.waiters.slice(0, WAITERS).map((w, i) => ({ ...w, i })), (w) => w.i, ["", "num"], (w) =>
      [[w, w.port ? `${w.address}:${w.port}` : w.address], w.application, span(w.wait_us)]);
    const rank = { unreachable: 0, paused: 1, disabled: 2 };
    const databases = [...s.databases].sort((a, b) => (rank[a.state] ?? 3) - (rank[b.state] ?? 3) || b.clients - a.clients || a.name.localeCompare(b.name)).slice(0, DATABASES);
    table("databases", databases, (d) => d.name, ["", "num", "num least"], (d) => [d.name, null,
      d.max_clients > 0 ? `${whole.format(d.clients)} of ${whole.format(d.max_clients)}` : whole.format(d.clients),
      d.max_servers > 0 ? `${whole.format(d.servers)} of ${whole.format(d.max_servers)}` : whole.format(d.servers)]);
    for (const d of databases) {
      const cell = children.get($("databases").tBodies[0]).get(d.name).children[1];
      if (!cell.firstChild) cell.append(make("span"));
      setText(cell.firstChild, d.state);
      setClass(cell.firstChild, stateClass[d.state] || "chip");
    }
    const left = s.databases.length - databases.length;
    $("databases-more").hidden = left === 0;
    setText($("databases-more"), `and ${whole.format(left)} more; those in trouble and those with most clients come first`);
    const states = [["sv_active", "active"], ["sv_idle", "idle"], ["sv_used", "used, to be checked"], ["sv_tested", "tested"],
      ["sv_login", "being opened"], ["sv_being_canceled", "being cancelled"], ["sv_active_cancel", "sending a cancel"], ["replication", "of these, replicating"], ["hubs", "listening for clients"]];
    table("servers", states, (x) => x[0], ["num"], (x) => [x[1], whole.format(sum(s.pools, x[0]))]);
    table("listeners", s.pools.filter((p) => p.subscriptions > 0).sort((a, b) => b.subscriptions - a.subscriptions).slice(0, 50), (p) => p.key,
      ["num less", "num", "num less", "num"], (p) => [[p, p.hubs > 0 ? "" : "not connected"],
        whole.format(p.channels), whole.format(p.subscriptions), whole.format(p.delivered), whole.format(p.dropped)]);
  }

  function showErrors(s) {
    keyed($("errors"), s.errors.map((e, i) => ({ ...e, i })), (e) => e.i, () => {
      const item = make("li");
      item.append(make("time"), make("span", "level"), make("span", "times"), make("span"));
      return item;
    }, (item, e) => {
      const [time, level, times, text] = item.children;
      setText(time, clock(e.at_ms));
      time.dateTime = new Date(e.at_ms).toISOString();
      setText(level, e.level);
      setClass(level, `level ${e.level}`);
      setText(times, e.n > 1 ? `${whole.format(e.n)} times` : "");
      times.hidden = e.n === 1;
      setText(text, e.text);
    });
    $("errors-none").hidden = s.errors.length > 0;
    const list = $("errors");
    list.hidden = s.errors.length === 0;
    /* What scrolls can be reached by the keyboard: not every browser sees to that. */
    if (list.scrollHeight > list.clientHeight) list.tabIndex = 0;
    else list.removeAttribute("tabindex");
  }

  /* --- turns --- */

  function show(s) {
    s.pools = records(s.pool_columns, s.pools);
    s.databases = records(s.database_columns, s.databases);
    const history = records(s.history_columns, s.history);
    for (const p of s.pools) follow(p, s.now_ms, s.bounds_us);
    const alive = new Set(s.pools.map((p) => p.key));
    for (const key of pools.keys()) {
      if (!alive.has(key)) pools.delete(key);
    }
    shown = s;
    setText($("state"), s.state);
    setClass($("state"), s.state === "active" ? "chip good" : "chip warn");
    setText($("version"), `pgpoold ${s.version}`);
    showFigures(s, history);
    showVerdict(s);
    showCharts(history);
    showPools();
    showTables(s);
    showErrors(s);
    const waiting = sum(s.pools, "cl_waiting");
    document.title = waiting > 0 ? `(${waiting} waiting) pgpoold` : "pgpoold";
  }

  function connected(ms) {
    setText($("fresh"), `Updated ${clock(ms)}`);
    setClass($("dot"), "dot live");
    $("lost").hidden = true;
    lostSince = null;
  }

  function lost(why) {
    lostSince = lostSince || Date.now();
    const lines = `The connection to pgpoold has been lost since ${clock(lostSince)} (${why}). Trying again; the figures below are old.`;
    setText($("lost"), lines);
    $("lost").hidden = false;
    setClass($("dot"), "dot dead");
    setText($("state"), "unknown");
    setClass($("state"), "chip bad");
  }

  async function turn() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const answer = await fetch("/status.json", { cache: "no-store", signal: abort.signal });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      const figures = await answer.json();
      show(figures);
      connected(Date.now());
    } catch (problem) {
      lost(problem.name === "AbortError" ? "no answer" : problem instanceof TypeError ? "no connection" : problem.message);
    } finally {
      clearTimeout(timer);
    }
    setTimeout(turn, document.hidden ? 5 * POLL_MS : POLL_MS);
  }

  $("where").textContent = location.host;
  $("filter").addEventListener("input", () => { if (shown) showPools(); });
  $("order").addEventListener("change", () => { if (shown) showPools(); });
  $("more").addEventListener("click", () => { showAll = !showAll; showPools(); });
  turn();
})();
