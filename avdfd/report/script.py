"""Script that makes tables sortable by mouse and keyboard: a button in the head of every column."""

SCRIPT = """
for (const head of document.querySelectorAll('thead th')) {
  if (!head.textContent) continue;
  const button = document.createElement('button');
  button.append(...head.childNodes);
  head.append(button);
  button.onclick = () => {
    const column = head.cellIndex;
    const first = head.classList.contains('num') ? 'descending' : 'ascending';
    const turned = first === 'ascending' ? 'descending' : 'ascending';
    const order = head.getAttribute('aria-sort') === first ? turned : first;
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', order);
    const text = row => row.cells[column].firstChild?.textContent ?? '';
    const compare = (a, b) => {
      const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
      if (isNaN(x) !== isNaN(y)) return isNaN(x) - isNaN(y);
      return (isNaN(x) ? text(a).localeCompare(text(b)) : x - y) * (order === 'ascending' ? 1 : -1);
    };
    for (const body of head.closest('table').tBodies)
      body.append(...[...body.rows].filter(row => !row.querySelector('.group')).sort(compare));
  };
}
"""
