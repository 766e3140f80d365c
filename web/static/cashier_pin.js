// The keypad fills the PIN field; the sixth digit opens the till.
const pin = document.getElementById("pin");
const form = document.getElementById("pin-form");
for (const button of document.querySelectorAll(".keypad button")) {
  button.addEventListener("click", () => {
    const key = button.dataset.key;
    if (key === "⌫") pin.value = pin.value.slice(0, -1);
    else if (key === "✓") form.requestSubmit();
    else if (pin.value.length < 6) pin.value += key;
    if (/^[0-9]$/.test(key) && pin.value.length === 6 && form.checkValidity()) form.requestSubmit();
  });
}
