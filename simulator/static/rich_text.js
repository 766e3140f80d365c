// Text messages: links made tappable, LINE's own emoji replaced by small drawn ones.

import { el } from "./dom.js";
import { face } from "./faces.js";

// Web addresses as LINE links them: from the scheme to the first space or non-ASCII letter.
const LINK = /https?:\/\/[\w\-.~:/?#[\]@!$&'()*+,;=%]+/g;
const TRAILING = /[.,;:!?'")\]]+$/;

// A list of strings and elements for a `text` or `textV2` message.
export function textParts(message, onLink) {
  return pieces(message).flatMap((piece) =>
    typeof piece === "string" ? withLinks(piece, onLink) : [emoji(piece)],
  );
}

function pieces(message) {
  if (message.type === "textV2") return substituted(message.text ?? "", message.substitution ?? {});
  return withPlaceholders(message.text ?? "", message.emojis ?? []);
}

// `emojis` name the UTF-16 index of the `$` each one replaces.
function withPlaceholders(text, emojis) {
  const found = [];
  let done = 0;
  for (const each of [...emojis].sort((a, b) => a.index - b.index)) {
    if (each.index < done || text[each.index] !== "$") continue;
    found.push(text.slice(done, each.index), each);
    done = each.index + 1;
  }
  return [...found, text.slice(done)];
}

function substituted(text, substitution) {
  const found = [];
  let done = 0;
  for (const match of text.matchAll(/\{\{|\}\}|\{(\w{1,20})\}/g)) {
    found.push(text.slice(done, match.index), substitute(match, substitution));
    done = match.index + match[0].length;
  }
  return [...found, text.slice(done)];
}

function substitute(match, substitution) {
  if (match[0] === "{{" || match[0] === "}}") return match[0][0];
  const value = substitution[match[1]];
  if (value?.type === "emoji") return value;
  if (value?.type === "mention") return value.mentionee?.type === "all" ? "@All" : "@…";
  return match[0];
}

function withLinks(text, onLink) {
  const parts = [];
  let done = 0;
  for (const match of text.matchAll(LINK)) {
    const uri = match[0].replace(TRAILING, "");
    parts.push(text.slice(done, match.index), link(uri, onLink));
    done = match.index + uri.length;
  }
  return [...parts, text.slice(done)].filter((part) => part !== "");
}

function link(uri, onLink) {
  return el("a", {
    href: uri,
    rel: "noopener noreferrer",
    text: uri,
    on: {
      click: (event) => {
        event.preventDefault();
        onLink(uri);
      },
    },
  });
}

function emoji({ productId = "", emojiId = "" }) {
  return el("span", { class: "line-emoji", title: `LINE emoji ${productId}/${emojiId}` },
    face(productId, emojiId));
}
