"use strict";
(function () {
  var LEFT = 10, WHOLE = 1180, CHARACTER = 7.3;
  var frames = Array.prototype.map.call(document.querySelectorAll(".frame"), function (g) {
    var rect = g.querySelector("rect");
    return {
      g: g, rect: rect, text: g.querySelector("text"),
      title: g.querySelector("title").textContent,
      name: g.querySelector("title").textContent.replace(/ \([^(]*\)(\n[\s\S]*)?$/, ""),
      x: Number(rect.getAttribute("x")), width: Number(rect.getAttribute("width")),
      y: Number(rect.getAttribute("y"))
    };
  });
  var reset = document.getElementById("reset");
  var search = document.getElementById("search");
  var detail = document.getElementById("detail");
  search.style.visibility = "visible";

  // As the writer of this file does it: whole, else the last parts, else the beginning.
  function fitted(name, width) {
    var room = Math.floor((width - 6) / CHARACTER);
    if (room < 3) { return ""; }
    while (name.length > room) {
      var part = /^[^<({ :]*::/.exec(name);
      if (!part) { return name.slice(0, room - 1) + "…"; }
      name = name.slice(part[0].length);
    }
    return name;
  }

  function zoom(to) {
    var scale = WHOLE / to.width, end = to.x + to.width;
    frames.forEach(function (frame) {
      var isParent = frame.y < to.y && frame.x <= to.x + 0.02 && frame.x + frame.width >= end - 0.02;
      var isInside = frame.y >= to.y && frame.x >= to.x - 0.02 && frame.x + frame.width <= end + 0.02;
      frame.g.style.display = isParent || isInside ? "" : "none";
      frame.g.classList.toggle("parent", isParent);
      var x = isParent ? LEFT : LEFT + (frame.x - to.x) * scale;
      var width = isParent ? WHOLE : frame.width * scale;
      frame.rect.setAttribute("x", x);
      frame.rect.setAttribute("width", width);
      frame.text.setAttribute("x", x + 3);
      frame.text.textContent = fitted(frame.name, width);
    });
    reset.style.visibility = to === frames[0] ? "hidden" : "visible";
  }

  function find() {
    var pattern = window.prompt("Functions whose name matches (regular expression):", "");
    if (pattern === null) { return; }
    var matches;
    try { matches = new RegExp(pattern, "i"); } catch (error) { window.alert(error.message); return; }
    // Matching frames above one another count once: by the outermost.
    var ranges = [], found = 0;
    frames.forEach(function (frame) {
      var is = pattern !== "" && matches.test(frame.name);
      frame.g.classList.toggle("found", is);
      if (is) { ranges.push([frame.x, frame.x + frame.width]); }
    });
    ranges.sort(function (a, b) { return a[0] - b[0] || b[1] - a[1]; });
    var end = -1;
    ranges.forEach(function (range) {
      if (range[1] > end + 0.01) { found += range[1] - Math.max(range[0], end); end = range[1]; }
    });
    search.textContent = pattern === "" ? "search" :
      "search: " + pattern + " " + (100 * found / WHOLE).toFixed(1) + "%";
  }

  frames.forEach(function (frame) {
    frame.g.addEventListener("click", function () { zoom(frame); });
    frame.g.addEventListener("mouseenter", function () { detail.textContent = frame.title.split("\n").join("  "); });
    frame.g.addEventListener("mouseleave", function () { detail.textContent = " "; });
  });
  reset.addEventListener("click", function () { zoom(frames[0]); });
  search.addEventListener("click", find);
  window.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { zoom(frames[0]); }
    if (event.key === "/" || (event.ctrlKey && event.key === "f")) { event.preventDefault(); find(); }
  });
})();
