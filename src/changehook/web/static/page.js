// What is better with a script: times in the reader's zone, progress without a click, copying.
"use strict";

const FORMS = {
  full: { dateStyle: "medium", timeStyle: "medium" },
  short: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  zoned: { dateStyle: "medium", timeStyle: "long" }, // with the zone that all times are in
  hour: { hour: "2-digit", minute: "2-digit" },
};
const format = (iso, form) => new Intl.DateTimeFormat(undefined, FORMS[form]).format(new Date(iso));

for (const time of document.querySelectorAll("time[data-form]")) {
  time.textContent = format(time.dateTime, time.dataset.form);
}
for (const title of document.querySelectorAll("title[data-hour]")) {
  const words = title.textContent.slice(title.textContent.indexOf(" UTC: ") + 6);
  title.textContent = `${format(title.dataset.hour, "short")}: ${words}`;
}

for (const box of document.querySelectorAll(".copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = box.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(box.querySelector("pre"));
      button.textContent = "Selected: copy it with the keyboard";
    }
  });
  box.prepend(button);
}

const trial = document.getElementById("try-form");
trial?.elements.change.addEventListener("input", () => {
  trial.elements.delivery.value = ""; // what is typed is what is meant
});

const bulk = document.getElementById("bulk");
if (bulk) {
  const total = Number(bulk.dataset.total);
  const number = (value) => value.toLocaleString("en");
  const stop = (text) => {
    const notice = document.createElement("p");
    notice.className = "notice bad";
    notice.setAttribute("role", "alert");
    notice.textContent = text;
    bulk.before(notice);
  };
  bulk.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = bulk.querySelector("button");
    button.disabled = true;
    bulk.querySelector("a.button").textContent = "Stop here";
    bulk.querySelector(".progress").hidden = false;
    try {
      for (;;) {
        const answer = await fetch(bulk.getAttribute("action"), {
          method: "POST",
          headers: { Accept: "application/json" },
          body: new URLSearchParams(new FormData(bulk)),
        });
        if (!answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          stop(page.querySelector("main p")?.textContent ?? "It stopped: reload the page.");
          break;
        }
        const state = await answer.json();
        for (const name of ["seen", "done", "after"]) bulk.elements[name].value = state[name];
        bulk.querySelector("progress").value = state.seen;
        bulk.querySelector("output").textContent = `${number(state.seen)} of ${number(total)}`;
        if (state.over) {
          HTMLFormElement.prototype.submit.call(bulk); // the last slice is empty, and says how it ended
          return;
        }
      }
    } catch {
      stop("The application does not answer. What was done so far stays done; go on when it does.");
    }
    button.disabled = false;
    button.textContent = "Go on";
  });
}

const watched = document.querySelector("[data-watch]");
if (watched) {
  let left = 20;
  const look = async () => {
    left -= 1;
    try {
      const text = await (await fetch(location.href)).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const state = page.querySelector("[data-state]")?.dataset.state;
      if (state && state !== watched.dataset.state) return location.reload();
    } catch {
      return undefined;
    }
    return left > 0 ? setTimeout(look, 1000) : undefined;
  };
  setTimeout(look, 500);
}
