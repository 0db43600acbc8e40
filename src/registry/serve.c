/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/registry.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "codec/json.h"
#include "registry/api.h"
#include "registry/client.h"
#include "registry/confine.h"
#include "registry/reply.h"
#include "registry/upload.h"

#define BYTES_EVERY_NS (100 * NS_PER_MS)
#define CA_MAX	       ((size_t)1 << 20)

struct pull {
	int sock;
	struct client client;
	struct transfer *blobs;
	size_t n;
	int64_t told_ns;
	uint64_t told_bytes;
};

/* Send a message to mvm.  Takes the object over.  If this fails, mvm is gone and we get killed. */
static void tell(struct pull *p, struct json_out *out, json_t *o)
{
	AUTO_FREE char *text = NULL;

	if (json_out_text(out, o, JSON_TEXT_SORTED, &text, NULL) == 0)
		sock_send_fds(p->sock, text, strlen(text), NULL, 0);
}

static void on_bytes(void *arg, uint64_t bytes)
{
	struct pull *p = arg;
	struct json_out out = { 0 };
	int64_t now = clock_now_ns();

	if (bytes == p->told_bytes || now - p->told_ns < BYTES_EVERY_NS)
		return;
	p->told_bytes = bytes;
	p->told_ns = now;
	json_t *o = json_new(&out);
	json_put_u64(&out, o, "bytes", bytes);
	tell(p, &out, o);
}

static void tell_text(struct pull *p, const char *key, const char *text)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_text(&out, o, key, text);
	tell(p, &out, o);
}

static void on_note(void *arg, const char *text)
{
	tell_text(arg, "note", text);
}

static void tell_error(struct pull *p, const struct mvm_error *why)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put_u64(&out, o, "error", (uint64_t)-why->code);
	json_put_text(&out, o, "text", why->text);
	json_put_text(&out, o, "hint", why->hint);
	if (why->reason[0]) {
		json_put_text(&out, o, "reason", why->reason);
		json_put_text(&out, o, "subject", why->subject);
	}
	tell(p, &out, o);
}

static void tell_found(struct pull *p, const struct transfer *t)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	char digest[DIGEST_TEXT_SIZE];

	digest_text(&t->digest, digest);
	if (t->has_digest)
		json_put_string(&out, o, "digest", digest);
	json_put_u64(&out, o, "size", t->have);
	tell(p, &out, o);
}

static int read_ca(int fd, struct target *ret, struct mvm_error *err)
{
	int r = fd < 0 ? 0 : file_read_fd(fd, CA_MAX, &ret->ca, &ret->ca_len);
	return r < 0 ? mvm_error_set(err, r, "cannot read the registry's CA: %s", strerror(-r)) : 0;
}

static int open_target(struct pull *p, const struct json_at *at, int fd, struct mvm_error *err)
{
	struct target *t = &p->client.target;
	const struct {
		const char *key;
		char **ret;
	} members[] = {
		{ "base", &t->base },	      { "host", &t->host },
		{ "path", &t->path },	      { "user", &t->user },
		{ "password", &t->password }, { "identity", &t->identity },
		{ "bearer", &t->bearer },     { "from", &t->from },
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(members); i++)
		r = json_get_string(at, members[i].key, i < 3 ? JSON_REQUIRED : JSON_OPTIONAL,
				    members[i].ret, err);
	if (r >= 0)
		r = json_get_bool(at, "push", JSON_OPTIONAL, &t->push, err);
	if (r >= 0)
		r = json_get_bool(at, "remove", JSON_OPTIONAL, &t->remove, err);
	if (r >= 0)
		r = read_ca(fd, t, err);
	return r < 0 ? r : 0;
}

/* Answer "head" and "get".  Takes the descriptor over. */
static int serve_manifest(struct pull *p, const struct json_at *at, const char *key, int fd,
			  struct mvm_error *err)
{
	AUTO_DONE(transfer) t = { .want = str_eq(key, "get") ? WANT_MANIFEST : WANT_HEAD,
				  .fd = fd };
	struct mvm_error why = { 0 };

	int r = json_get_string(at, key, JSON_REQUIRED, &t.reference, err);
	if (r >= 0 && t.want == WANT_MANIFEST)
		r = json_get_u64(at, "max", 1, INT64_MAX, JSON_REQUIRED, &t.size, err);
	if (r < 0)
		return r;
	t.has_digest = reply_digest(t.reference, strlen(t.reference), &t.digest) == 0;
	if (client_run(&p->client, &t, 1, &why) < 0)
		tell_error(p, &why);
	else
		tell_found(p, &t);
	return 0;
}

/* Is only a part of the blob wanted? */
static int get_part(const struct json_at *at, struct transfer *t, struct mvm_error *err)
{
	const uint64_t whole = t->size;

	int r = json_get_u64(at, "bytes", 1, INT64_MAX, JSON_OPTIONAL, &t->size, err);
	if (r <= 0)
		return r;
	t->is_part = true;
	t->whole = whole;
	r = json_get_u64(at, "from", 0, INT64_MAX, JSON_REQUIRED, &t->from, err);
	if (r >= 0)
		r = json_get_u64(at, "at", 0, INT64_MAX, JSON_REQUIRED, &t->at, err);
	if (r >= 0 && (t->from > whole || t->size > whole - t->from))
		r = mvm_error_set(err, -EPROTO, "mvm names a part that is none");
	return r;
}

/* Takes the descriptor over. */
static int note_blob(struct pull *p, const struct json_at *at, int fd, struct mvm_error *err)
{
	AUTO_DONE(transfer) t = { .want = WANT_BLOB, .fd = fd };

	int r = json_get_string(at, "blob", JSON_REQUIRED, &t.reference, err);
	if (r >= 0)
		r = json_get_u64(at, "size", 0, INT64_MAX, JSON_REQUIRED, &t.size, err);
	if (r >= 0)
		r = get_part(at, &t, err);
	if (r < 0)
		return r;
	if (fd < 0 || reply_digest(t.reference, strlen(t.reference), &t.digest) < 0 ||
	    p->n == REGISTRY_BLOBS_MAX)
		return mvm_error_set(err, -EPROTO, "mvm names a blob that is none");
	struct transfer *more = realloc(p->blobs, (p->n + 1) * sizeof(*more));
	if (!more)
		return mvm_error_oom(err);
	p->blobs = more;
	p->blobs[p->n++] = t;
	t = (struct transfer){ .fd = -1 };
	return 0;
}

static void forget_blobs(struct pull *p)
{
	for (size_t i = 0; i < p->n; i++)
		transfer_done(&p->blobs[i]);
	free(p->blobs);
	p->blobs = NULL;
	p->n = 0;
}

static void tell_true(struct pull *p, const char *key, bool value)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);

	json_put(&out, o, key, json_boolean(value));
	tell(p, &out, o);
}

static int serve_run(struct pull *p)
{
	struct mvm_error why = { 0 };

	p->client.bytes = 0;
	int r = client_run(&p->client, p->blobs, p->n, &why);
	forget_blobs(p);
	if (r < 0)
		tell_error(p, &why);
	else
		tell_true(p, "done", true);
	return 0;
}

/* Answer "has", "upload" and "put", whose descriptor this takes over. */
static int serve_push(struct pull *p, const struct json_at *at, const char *key, int fd,
		      struct mvm_error *err)
{
	AUTO_FREE char *name = NULL, *type = NULL;
	AUTO_CLOSE int owned = fd;
	struct mvm_error why = { 0 };
	uint64_t size = 0;

	int r = json_get_string(at, key, JSON_REQUIRED, &name, err);
	if (r >= 0)
		r = json_get_string(at, "type", JSON_OPTIONAL, &type, err);
	if (r >= 0)
		r = json_get_u64(at, "size", 0, INT64_MAX, JSON_OPTIONAL, &size, err);
	if (r < 0)
		return r;
	if (str_eq(key, "has"))
		r = upload_has(&p->client, name, &why);
	else if (type)
		r = upload_manifest(&p->client, name, type, owned, size, &why);
	else
		r = upload_blob(&p->client, name, owned, size, &why);
	if (r < 0)
		tell_error(p, &why);
	else
		tell_true(p, str_eq(key, "has") ? "found" : "done", str_eq(key, "has") ? r : true);
	return 0;
}

/* Answer "list".  Takes the descriptor over. */
static int serve_list(struct pull *p, const struct json_at *at, int fd, struct mvm_error *err)
{
	AUTO_FREE char *what = NULL, *next = NULL;
	AUTO_CLOSE int owned = fd;
	struct json_out out = { 0 };
	struct mvm_error why = { 0 };
	uint64_t max = 0;

	int r = json_get_string(at, "list", JSON_REQUIRED, &what, err);
	if (r >= 0)
		r = json_get_u64(at, "max", 1, INT64_MAX, JSON_REQUIRED, &max, err);
	if (r < 0)
		return r;
	r = api_list(&p->client, what, owned, max, &next, &why);
	if (r < 0) {
		tell_error(p, &why);
		return 0;
	}
	json_t *o = json_new(&out);
	json_put(&out, o, "found", json_boolean(r > 0));
	if (next)
		json_put_text(&out, o, "next", next);
	tell(p, &out, o);
	return 0;
}

/* Answer "login" and "delete". */
static int serve_change(struct pull *p, const struct json_at *at, struct mvm_error *err)
{
	AUTO_FREE char *digest = NULL;
	struct mvm_error why = { 0 };

	int r = json_get_string(at, "delete", JSON_OPTIONAL, &digest, err);
	if (r < 0)
		return r;
	bool login = r == 0;
	r = login ? api_login(&p->client, &why) : api_delete(&p->client, digest, &why);
	if (r < 0)
		tell_error(p, &why);
	else
		tell_true(p, login ? "checked" : "done", login ? r > 0 : true);
	return 0;
}

/* Obey one message.  Takes the descriptor over. */
static int obey(struct pull *p, const char *text, size_t len, int fd, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_CLOSE int owned = fd;
	struct json_at root;

	int r = json_read(text, len, "message", &doc, err);
	if (r < 0)
		return r;
	json_root(&root, "message", doc);
	if (json_object_get(doc, "base") && !p->client.target.base)
		return open_target(p, &root, owned, err);
	if (!p->client.target.base)
		return mvm_error_set(err, -EPROTO, "mvm names no registry");
	if (json_object_get(doc, "head"))
		return serve_manifest(p, &root, "head", TAKE_FD(owned), err);
	if (json_object_get(doc, "get"))
		return serve_manifest(p, &root, "get", TAKE_FD(owned), err);
	if (json_object_get(doc, "blob"))
		return note_blob(p, &root, TAKE_FD(owned), err);
	if (json_object_get(doc, "list"))
		return serve_list(p, &root, TAKE_FD(owned), err);
	if (json_object_get(doc, "login") || json_object_get(doc, "delete"))
		return serve_change(p, &root, err);
	static const char *const pushes[] = { "has", "upload", "put" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(pushes); i++) {
		if (json_object_get(doc, pushes[i]))
			return serve_push(p, &root, pushes[i], TAKE_FD(owned), err);
	}
	return json_object_get(doc, "run") ? serve_run(p)
					   : mvm_error_set(err, -EPROTO, "an unknown message");
}

int registry_serve(int sock, struct mvm_error *err)
{
	struct pull p = { .sock = sock };
	AUTO_FREE char *text = malloc(REGISTRY_MESSAGE_MAX);

	int r = text ? client_init(&p.client, err) : mvm_error_oom(err);
	if (r == 0)
		r = registry_confine(err);
	p.client.on_bytes = on_bytes;
	p.client.on_note = on_note;
	p.client.arg = &p;
	while (r == 0) {
		size_t n_fds = 0;
		int fd = -1;
		ssize_t n = sock_receive_fds(sock, text, REGISTRY_MESSAGE_MAX, 0, &fd, 1, &n_fds);
		if (n == 0)
			break;
		r = n < 0 ? mvm_error_set(err, (int)n, "mvm is gone")
			  : obey(&p, text, (size_t)n, n_fds ? fd : -1, err);
		if (n > 0)
			explicit_bzero(text, (size_t)n); /* it may hold a password */
	}
	forget_blobs(&p);
	client_done(&p.client);
	return r;
}
