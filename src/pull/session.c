/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/program.h"
#include "base/sock.h"
#include "base/visible.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "image/oci_digest.h"
#include "image/oci_manifest.h"
#include "pull/credentials.h"
#include "pull/settings.h"

#define PROGRAM	    "mvm-registry"
#define MESSAGE_MAX 131072u /* as in registry.h, which is that program's own */
/* All of the environment that it gets. */
static const char *const variables[] = {
	"http_proxy",  "https_proxy", "HTTPS_PROXY",   "all_proxy",	  "ALL_PROXY",
	"no_proxy",    "NO_PROXY",    "SSL_CERT_FILE", "SSL_CERT_DIR",	  "NIX_SSL_CERT_FILE",
	"RES_OPTIONS", "LOCALDOMAIN", "ASAN_OPTIONS",  "LD_LIBRARY_PATH",
};

#define HUB_HOST "registry-1." IMAGE_REF_HUB

void session_done(struct session *s)
{
	if (s->sock >= 0)
		close(s->sock);
	process_kill(&s->child);
	*s = (struct session)SESSION_NONE;
}

/* Send a message, with a descriptor unless that is -1.  Takes the object over. */
static int send_message(struct session *s, struct json_out *out, json_t *o, int fd,
			struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = json_out_text(out, o, JSON_TEXT_SORTED, &text, err);
	if (r < 0)
		return r;
	r = sock_send_fds(s->sock, text, strlen(text), &fd, fd >= 0);
	explicit_bzero(text, strlen(text));
	return r < 0 ? mvm_error_set(err, -EPROTO, PROGRAM " has ended: %s", strerror(-r)) : 0;
}

/* Can this be a host or a repository, with nothing that would steer a terminal? */
static bool is_plain(const char *name)
{
	for (const char *c = name; *c; c++) {
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	}
	return true;
}

/* An error that mvm-registry reports. */
static int told_error(const struct json_at *at, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL, *hint = NULL;
	AUTO_DONE(strbuf) seen = { 0 };
	uint64_t code;

	int r = json_get_u64(at, "error", 1, 4095, JSON_REQUIRED, &code, err);
	if (r < 0 || (r = json_get_string(at, "text", JSON_REQUIRED, &text, err)) < 0 ||
	    (r = json_get_string(at, "hint", JSON_OPTIONAL, &hint, err)) < 0)
		return r;
	visible_add(&seen, text, strlen(text), true);
	r = mvm_error_set(err, -(int)code, "%s", seen.data ? seen.data : "an error without text");
	static const char *const reasons[] = { "registry-login", "no-tag" };
	const char *reason = json_string_value(json_object_get(at->value, "reason"));
	const char *subject = json_string_value(json_object_get(at->value, "subject"));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(reasons); i++) {
		if (str_eq(reason, reasons[i]))
			return mvm_error_reason(err, r, reasons[i],
						subject && is_plain(subject) ? subject : NULL);
	}
	if (str_empty(hint))
		return r;
	strbuf_consume(&seen, seen.len);
	visible_add(&seen, hint, strlen(hint), true);
	return mvm_error_hint(err, r, "%s", seen.data ? seen.data : "");
}

static void told_note(const struct session *s, const char *note)
{
	AUTO_DONE(strbuf) seen = { 0 };

	visible_add(&seen, note, strlen(note), true);
	if (seen.data)
		progress_note(s->progress, "%s", seen.data);
}

/* Receive one message. */
static int receive(struct session *s, json_t **ret, struct mvm_error *err)
{
	AUTO_FREE char *text = malloc(MESSAGE_MAX);

	if (!text)
		return mvm_error_oom(err);
	int r = progress_wait(s->progress, s->sock, DEADLINE_NONE);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the pull");
	ssize_t n = r < 0 ? r : recv(s->sock, text, MESSAGE_MAX, 0);
	if (n <= 0) {
		r = mvm_error_set(err, -EPROTO, PROGRAM " has ended unexpectedly");
		return mvm_error_hint(err, r,
				      "is libcurl installed? " PROGRAM ", run by hand, says what "
				      "it lacks");
	}
	r = json_read(text, (size_t)n, PROGRAM, ret, err);
	if (r == 0 && !json_is_object(*ret))
		r = mvm_error_set(err, -EPROTO, PROGRAM " says something unknown");
	return r;
}

/* Receive one message: 1 with the answer, 0 for what comes before it. */
static int receive_step(struct session *s, struct progress_step *step, uint64_t total, json_t **ret,
			struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = receive(s, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, PROGRAM, doc);
	const json_t *bytes = json_object_get(doc, "bytes");
	const char *note = json_string_value(json_object_get(doc, "note"));
	if (json_object_get(doc, "error"))
		return told_error(&root, err);
	if (!bytes && !note) {
		*ret = TAKE_PTR(doc);
		return 1;
	}
	if (note)
		told_note(s, note);
	uint64_t done = bytes ? (uint64_t)json_integer_value(bytes) : 0;
	if (bytes && step && progress_bytes(step, done < total ? done : total, total, err) < 0)
		return mvm_error_cancelled(err, "the pull");
	return 0;
}

/* Wait for the answer.  Reports notes and bytes meanwhile. */
static int await(struct session *s, struct progress_step *step, uint64_t total, json_t **ret,
		 struct mvm_error *err)
{
	int r;

	do
		r = receive_step(s, step, total, ret, err);
	while (r == 0);
	return r < 0 ? r : 0;
}

static int environment(struct strv *ret)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(variables); i++) {
		const char *value = getenv(variables[i]);
		if (value)
			strv_addf(ret, "%s=%s", variables[i], value);
	}
	return ret->failed ? -ENOMEM : 0;
}

static int start(struct session *s, struct mvm_error *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_DONE(strv) env = { 0 };
	char *const nothing[] = { NULL };
	int pair[2];

	int r = program_helper_path(PROGRAM, &path);
	if (r < 0) {
		r = mvm_error_set(err, r, "cannot find " PROGRAM);
		return mvm_error_hint(err, r,
				      "reinstall mvm, or set MVM_LIBEXEC_DIR to its folder");
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return mvm_error_set(err, -errno, "cannot start " PROGRAM ": %s", strerror(errno));
	AUTO_CLOSE int theirs = pair[1];
	s->sock = pair[0];
	char *const argv[] = { path, NULL };
	if (environment(&env) < 0)
		return mvm_error_oom(err);
	const struct process_spec spec = { .argv = argv,
					   .env = env.n ? env.v : nothing,
					   .cwd_fd = AT_FDCWD,
					   .stdin_fd = theirs,
					   .stdout_fd = -1,
					   .stderr_fd = -1,
					   .flags = PROCESS_DIE_WITH_PARENT };
	r = process_spawn(&spec, &s->child);
	return r < 0 ? mvm_error_set(err, r, "cannot start '%s': %s", path, strerror(-r)) : 0;
}

static int open_ca(const struct settings *settings, struct mvm_error *err)
{
	if (!settings->ca)
		return -1;
	int fd = file_open(settings->ca);
	return fd < 0 ? mvm_error_set(err, fd, "cannot open the CA '%s': %s", settings->ca,
				      strerror(-fd))
		      : fd;
}

static void put_if(struct json_out *out, json_t *o, const char *key, const char *value)
{
	if (value)
		json_put_string(out, o, key, value);
}

static int introduce(struct session *s, const struct settings *settings,
		     const struct credentials *who, const char *host, const char *path,
		     unsigned rights, struct mvm_error *err)
{
	const char *at = str_eq(host, IMAGE_REF_HUB) ? HUB_HOST : host;
	AUTO_FREE char *base = str_printf("%s://%s", settings->insecure ? "http" : "https", at);
	struct json_out out = { .failed = !base };

	AUTO_CLOSE int ca = open_ca(settings, err);
	if (ca < 0 && settings->ca)
		return ca;
	json_t *o = json_new(&out);
	json_put_string(&out, o, "base", base);
	json_put_string(&out, o, "host", host);
	json_put_string(&out, o, "path", path);
	put_if(&out, o, "user", who->user);
	put_if(&out, o, "password", who->password);
	put_if(&out, o, "identity", who->identity);
	put_if(&out, o, "bearer", who->bearer);
	put_if(&out, o, "from", who->from);
	if (rights & SESSION_PUSH)
		json_put(&out, o, "push", json_true());
	if (rights & SESSION_DELETE)
		json_put(&out, o, "remove", json_true());
	return send_message(s, &out, o, ca, err);
}

int session_open_as(const char *data_dir, const char *host, const char *path, unsigned rights,
		    const struct credentials *who, const struct mvm_progress *progress,
		    struct session *ret, struct mvm_error *err)
{
	AUTO_DONE(session) s = SESSION_NONE;
	AUTO_DONE(settings) settings = { 0 };
	AUTO_DONE(credentials) found = { 0 };

	s.progress = progress;
	int r = settings_load(data_dir, host, &settings, err);
	if (r == 0 && !who)
		r = credentials_find(host, path, progress, &found, err);
	if (r == 0)
		r = start(&s, err);
	if (r == 0)
		r = introduce(&s, &settings, who ? who : &found, host, path, rights, err);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct session)SESSION_NONE;
	return 0;
}

int session_open(const char *data_dir, const char *host, const char *path, bool push,
		 const struct mvm_progress *progress, struct session *ret, struct mvm_error *err)
{
	return session_open_as(data_dir, host, path, push ? SESSION_PUSH : 0, NULL, progress, ret,
			       err);
}

int session_call(struct session *s, struct json_out *out, json_t *o, int fd,
		 struct progress_step *step, uint64_t total, json_t **ret, struct mvm_error *err)
{
	int r = send_message(s, out, o, fd, err);
	return r < 0 ? r : await(s, step, total, ret, err);
}

int session_head(struct session *s, const char *tag, struct mvm_digest *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	struct json_out out = { 0 };
	struct json_at root;

	json_t *o = json_new(&out);
	json_put_string(&out, o, "head", tag);
	int r = session_call(s, &out, o, -1, NULL, 0, &answer, err);
	if (r < 0 || !json_object_get(answer, "digest"))
		return r;
	json_root(&root, PROGRAM, answer);
	r = oci_get_digest(&root, "digest", ret, err);
	return r < 0 ? r : 1;
}

int session_fetch(struct session *s, const char *key, const char *name, size_t max, char **ret,
		  size_t *ret_len, json_t **ret_answer, struct mvm_error *err)
{
	struct json_out out = { 0 };

	AUTO_CLOSE int fd = memfd_create(key, MFD_CLOEXEC);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make a file in memory: %s",
				     strerror(errno));
	json_t *o = json_new(&out);
	json_put_string(&out, o, key, name);
	json_put_u64(&out, o, "max", max);
	int r = session_call(s, &out, o, fd, NULL, 0, ret_answer, err);
	if (r < 0)
		return r;
	lseek(fd, 0, SEEK_SET); /* mvm-registry shares it; a memfd always can */
	r = file_read_fd(fd, max, ret, ret_len);
	return r < 0 ? mvm_error_set(err, r, "cannot read the registry's answer: %s", strerror(-r))
		     : 0;
}

int session_get(struct session *s, const char *reference, char **ret, size_t *ret_len,
		struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	AUTO_FREE char *text = NULL;
	struct mvm_digest named, digest;
	size_t len;

	int r = session_fetch(s, "get", reference, OCI_JSON_MAX, &text, &len, &answer, err);
	if (r < 0)
		return r;
	sha256_buf(text, len, &digest);
	if (oci_digest_parse(reference, &named) == 0 && !digest_equal(&named, &digest))
		return mvm_error_set(err, -EBADMSG, "the manifest %.19s has other bytes",
				     reference);
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

int session_blobs_begin(struct session *s, const struct session_blob *blobs, size_t n,
			struct mvm_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_out out = { 0 };
		char digest[DIGEST_TEXT_SIZE];
		json_t *o = json_new(&out);
		digest_text(&blobs[i].digest, digest);
		json_put_string(&out, o, "blob", digest);
		json_put_u64(&out, o, "size", blobs[i].size);
		if (blobs[i].part_bytes) {
			json_put_u64(&out, o, "from", blobs[i].part_from);
			json_put_u64(&out, o, "bytes", blobs[i].part_bytes);
			json_put_u64(&out, o, "at", blobs[i].at);
		}
		r = send_message(s, &out, o, blobs[i].fd, err);
	}
	if (r < 0)
		return r;
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put(&out, o, "run", json_true());
	return send_message(s, &out, o, -1, err);
}

int session_blobs_step(struct session *s, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	return receive_step(s, NULL, 0, &answer, err);
}

int session_blobs(struct session *s, const struct session_blob *blobs, size_t n,
		  struct progress_step *step, struct mvm_error *err)
{
	AUTO_JSON json_t *answer = NULL;
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += blobs[i].part_bytes ? blobs[i].part_bytes : blobs[i].size;
	int r = session_blobs_begin(s, blobs, n, err);
	return r < 0 ? r : await(s, step, total, &answer, err);
}
