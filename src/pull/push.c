/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/json.h"
#include "codec/sha256.h"
#include "pull/session.h"

int session_has(struct session *s, const struct mvm_digest *digest, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	char text[DIGEST_TEXT_SIZE];
	json_t *o = json_new(&out);

	digest_text(digest, text);
	json_put_string(&out, o, "has", text);
	int r = session_call(s, &out, o, -1, NULL, 0, &answer, err);
	return r < 0 ? r : json_is_true(json_object_get(answer, "found"));
}

int session_upload(struct session *s, const struct mvm_digest *digest, int fd, uint64_t bytes,
		   struct progress_step *step, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	char text[DIGEST_TEXT_SIZE];
	json_t *o = json_new(&out);

	digest_text(digest, text);
	json_put_string(&out, o, "upload", text);
	json_put_u64(&out, o, "size", bytes);
	return session_call(s, &out, o, fd, step, step ? step->total_bytes : 0, &answer, err);
}

int session_put(struct session *s, const char *reference, const char *type, int fd, uint64_t bytes,
		struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_string(&out, o, "put", reference);
	json_put_string(&out, o, "type", type);
	json_put_u64(&out, o, "size", bytes);
	return session_call(s, &out, o, fd, NULL, 0, &answer, err);
}
