/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for more than manifests and blobs: logins, lists, deletion. */
#include "codec/json.h"
#include "codec/sha256.h"
#include "pull/session.h"

int session_check(struct session *s, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put(&out, o, "login", json_true());
	int r = session_call(s, &out, o, -1, NULL, 0, &answer, err);
	return r < 0 ? r : json_is_true(json_object_get(answer, "checked"));
}

int session_list(struct session *s, const char *what, char **ret, size_t *ret_len, char **ret_next,
		 struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	AUTO_FREE char *text = NULL, *next = NULL;
	struct json_at root;
	size_t len;

	int r = session_fetch(s, "list", what, SESSION_PAGE_MAX, &text, &len, &answer, err);
	if (r < 0 || json_is_false(json_object_get(answer, "found")))
		return r;
	json_root(&root, "mvm-registry", answer);
	r = json_get_string(&root, "next", JSON_OPTIONAL, &next, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	*ret_len = len;
	*ret_next = TAKE_PTR(next);
	return 1;
}

int session_delete(struct session *s, const struct mvm_digest *digest, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	char text[DIGEST_TEXT_SIZE];
	json_t *o = json_new(&out);

	digest_text(digest, text);
	json_put_string(&out, o, "delete", text);
	return session_call(s, &out, o, -1, NULL, 0, &answer, err);
}
