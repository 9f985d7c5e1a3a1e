/** What keys may do, in words; and what people usually want of one. */

/** @type {Record<string, string>} */
export const SCOPES = {
  predict: "ask meta-learners",
  "models:read": "see models, pools and their members",
  "models:write": "upload and withdraw models, make pools",
  "builds:read": "see builds and meta-learners",
  "builds:write": "order and cancel builds, take meta-learners along",
  "keys:admin": "make, renew and revoke keys",
  "pools:admin": "change pools’ members",
  "audit:read": "read what happened",
};

/** @type {Record<string, {name: string, scopes: string[]}>} */
export const PURPOSES = {
  ask: { name: "Asks meta-learners", scopes: ["predict", "builds:read"] },
  contribute: { name: "Contributes models", scopes: ["models:read", "models:write"] },
  build: { name: "Builds", scopes: ["models:read", "builds:read", "builds:write"] },
  audit: { name: "Audits", scopes: ["audit:read", "models:read", "builds:read"] },
  all: { name: "May do everything", scopes: Object.keys(SCOPES) },
};
