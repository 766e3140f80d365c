/* A stand-in for LINE's LIFF script: the same calls, answered by the simulator.
   The customer is told by the host name of the page (c1.localhost, c2.localhost, ...). */
(function () {
  "use strict";

  const platform = new URL(document.currentScript.src).origin;
  const found = /^(c\d+)\.localhost$/.exec(window.location.hostname);
  const customer = found ? found[1] : null;
  const loggedOutKey = "liff.standin.loggedOut";
  const available = new Set([
    "getProfile", "getFriendship", "sendMessages", "scanCodeV2", "openWindow", "closeWindow",
    "permanentLink",
  ]);

  let liffId = null;
  let session = null;
  let announceReady;
  const ready = new Promise(function (resolve) { announceReady = resolve; });

  function liffError(code, message) {
    const error = new Error(message);
    error.code = code;
    return error;
  }

  function needSession() {
    if (!session) {
      throw liffError("UNAUTHORIZED", "Call liff.init() and sign in first.");
    }
    return session;
  }

  /* The first page LINE opens is the endpoint with ?liff.state=; init() then moves on to the
     page that the link named, by history when only the query differs and by loading otherwise. */
  function secondaryAddress(endpointPath) {
    const here = new URL(window.location.href);
    const state = here.searchParams.get("liff.state");
    if (state === null) {
      return null;
    }
    const base = endpointPath.replace(/\/$/, "");
    const extra = /^[/?#]/.test(state) ? state : "/" + state;
    const target = new URL(here.origin + base + extra);
    if (target.origin !== here.origin) {
      return null;
    }
    return target;
  }

  function moveOn(endpointPath) {
    const target = secondaryAddress(endpointPath);
    if (target === null) {
      return Promise.resolve();
    }
    if (target.pathname === window.location.pathname) {
      window.history.replaceState(window.history.state, "", target.href);
      return Promise.resolve();
    }
    window.location.replace(target.href);
    return new Promise(function () { /* the page is being left */ });
  }

  async function call(path, options) {
    let answer;
    try {
      answer = await fetch(platform + path, options);
    } catch (cause) {
      throw liffError("INIT_FAILED", "The LINE platform cannot be reached.");
    }
    const body = await answer.json();
    if (!answer.ok) {
      throw liffError(body.code || "UNKNOWN", body.message || "The call failed.");
    }
    return body;
  }

  async function start(config) {
    if (!config || !config.liffId) {
      throw liffError("INVALID_CONFIG", "liffId is necessary for liff.init()");
    }
    liffId = config.liffId;
    if (customer !== null && window.sessionStorage.getItem(loggedOutKey) !== "1") {
      const query = new URLSearchParams({ customer: customer, liffId: liffId });
      session = await call("/liff/session?" + query.toString());
      await moveOn(session.endpointPath);
    } else if (customer === null && config.withLoginOnExternalBrowser) {
      liff.login();
      await new Promise(function () { /* the page is being left */ });
    }
    announceReady();
  }

  const liff = {
    id: null,
    ready: ready,

    init: function (config, onSuccess, onError) {
      const done = start(config).then(function () { liff.id = liffId; });
      return done.then(
        function () { if (onSuccess) { onSuccess(); } },
        function (error) {
          if (onError) { onError(error); }
          throw error;
        },
      );
    },

    isLoggedIn: function () { return session !== null; },

    login: function (options) {
      window.sessionStorage.removeItem(loggedOutKey);
      if (customer !== null) {
        window.location.replace((options && options.redirectUri) || window.location.href);
        return;
      }
      const wanted = new URL((options && options.redirectUri) || window.location.href);
      const path = wanted.pathname.replace(/^\/m(?=\/|$)/, "");
      window.location.assign(platform + "/liff/" + liffId + path + wanted.search);
    },

    logout: function () {
      session = null;
      window.sessionStorage.setItem(loggedOutKey, "1");
    },

    getIDToken: function () { return session ? session.idToken : null; },
    getDecodedIDToken: function () { return session ? session.decodedIdToken : null; },
    getAccessToken: function () { return session ? session.accessToken : null; },

    getProfile: async function () { return Object.assign({}, needSession().profile); },

    getFriendship: async function () {
      const headers = { Authorization: "Bearer " + needSession().accessToken };
      return call("/liff/friendship", { headers: headers });
    },

    isInClient: function () { return customer !== null; },
    getOS: function () { return customer === null ? "web" : "android"; },
    getLanguage: function () { return session ? session.language : navigator.language; },
    getAppLanguage: function () { return session ? session.language : navigator.language; },
    getVersion: function () { return "2.29.2"; },
    getLineVersion: function () { return customer === null ? null : "15.0.0"; },

    getContext: function () {
      if (!session) {
        return { type: "external" };
      }
      return {
        type: "utou",
        userId: session.profile.userId,
        liffId: liffId,
        viewType: "full",
        endpointUrl: window.location.origin + session.endpointPath,
        accessTokenHash: "",
      };
    },

    openWindow: function (options) {
      if (!options || !options.url) {
        throw liffError("INVALID_ARGUMENT", "url is necessary");
      }
      window.open(options.url, "_blank", "noopener");
    },

    closeWindow: function () {
      if (window.parent !== window) {
        // The phone may have been opened under another loopback name; nothing secret is said.
        window.parent.postMessage({ liff: "closeWindow", customer: customer }, "*");
      }
      window.close();
    },

    sendMessages: async function (messages) {
      if (customer === null) {
        throw liffError("FORBIDDEN", "Messages are sent from a chat only.");
      }
      await call("/liff/messages", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ accessToken: needSession().accessToken, messages: messages }),
      });
    },

    scanCodeV2: async function () {
      needSession();
      const value = window.prompt("วางข้อความใน QR ที่ต้องการสแกน / Paste what the QR code says");
      if (value === null) {
        throw liffError("CANCEL", "The scan was cancelled.");
      }
      return { value: value };
    },

    isApiAvailable: function (name) {
      if (name === "sendMessages" || name === "scanCodeV2" || name === "closeWindow") {
        return customer !== null;
      }
      return available.has(name);
    },

    permanentLink: {
      createUrl: function () { return liff.permanentLink.createUrlBy(window.location.href); },
      createUrlBy: function (address) {
        const wanted = new URL(address, window.location.href);
        const base = session ? session.endpointPath.replace(/\/$/, "") : "";
        if (wanted.origin !== window.location.origin || !wanted.pathname.startsWith(base)) {
          throw liffError("INVALID_ARGUMENT", "The address is not under the endpoint.");
        }
        const rest = wanted.pathname.slice(base.length) + wanted.search + wanted.hash;
        return platform + "/liff/" + liffId + (rest === "/" ? "" : rest);
      },
    },
  };

  window.liff = liff;
})();
