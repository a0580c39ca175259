for (const table of document.querySelectorAll("table.m")) {
  const body = table.tBodies[0], rows = [...body.rows], region = table.parentElement
  const make = (tag, set, ...inside) => { const node = Object.assign(document.createElement(tag), set); node.append(...inside); return node }
  const input = make("input", {type: "search"}), told = make("output", {className: "note"})
  region.before(make("p", {}, make("label", {}, "Only cases with ", input), " ", told))
  input.oninput = () => {
    const words = input.value.toLowerCase().split(/\s+/)
    let count = 0
    for (const row of rows) {
      const link = row.querySelector("a")
      row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word))
      if (link) document.getElementById(link.hash.slice(1)).hidden = row.hidden
      count += !row.hidden
    }
    told.value = `${count} of ${rows.length}`
  }
  const number = text => { const found = /-?\d[\d\s]*(\.\d+)?(e[-+]\d+)?/.exec(text); return found ? +found[0].replace(/\s/g, "") : NaN }
  const heads = [...table.tHead.rows[0].cells]
  heads.forEach((head, column) => {
    const key = row => column ? column > 1 ? number(row.cells[column].textContent) : row.cells[1].textContent : rows.indexOf(row)
    const order = (one, other) => one < other ? -1 : one > other ? 1 : 0
    head.replaceChildren(make("button", {type: "button", onclick: () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1
      const known = row => !Number.isNaN(key(row))
      heads.forEach(each => each.removeAttribute("aria-sort"))
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending")
      body.append(...[...rows].sort((a, b) => known(b) - known(a) || sign * order(key(a), key(b))))
    }}, head.textContent))
  })
}
