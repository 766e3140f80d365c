// A form of the console was refused with a page of its own: back to the form, with what was typed
// and the sentence beside its field (console.js fills it in). After a 403 the page has a new form
// token as well: the one before ends when somebody opens the till in this browser.
const { status, field } = document.body.dataset;
const KEY = "taem-typed";
let typed = null;
try {
  typed = JSON.parse(sessionStorage.getItem(KEY));
} catch {
  // Without storage the sentence stays where it is.
}
if (typed && ["400", "403", "409", "413", "422"].includes(status) && typed.action === location.pathname && !typed.refused) {
  typed.refused = { field, sentence: document.querySelector("h1").textContent };
  sessionStorage.setItem(KEY, JSON.stringify(typed));
  location.replace(typed.page);
}
