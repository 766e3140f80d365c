// The report goes to whatever printer the till has.
document.getElementById("print").addEventListener("click", () => window.print());
