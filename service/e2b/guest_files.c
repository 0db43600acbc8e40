/* SPDX-License-Identifier: Apache-2.0 */
/* Work of the guest's agent with files, for the calls that want all of its output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/parse.h"
#include "e2b/envd.h"
#include "request.h"
#include "server.h"

#define OUTPUT_MAX ((size_t)16 * 1024 * 1024)
#define TEXT_MAX   ((size_t)1024)
#define ENTRY_MAX  ((size_t)32 * 1024)

struct guest_files {
	struct sandbox_use use;
	struct mvm_exec *exec;
	struct loop_source *source;
	struct strbuf out, text;
	guest_files_fn fn;
	void *arg;
};

static void finish(struct guest_files *x, int status)
{
	loop_source_free(x->source);
	sandbox_unuse(&x->use);
	mvm_exec_close(x->exec);
	x->fn(x->arg, status, &x->out, x->text.data ? x->text.data : "");
	strbuf_done(&x->out);
	strbuf_done(&x->text);
	free(x);
}

static void on_drop(struct sandbox_use *use)
{
	finish((struct guest_files *)use, EHOSTDOWN);
}

static void on_exec(void *arg, uint32_t events)
{
	struct guest_files *x = arg;
	const struct mvm_exec_event *e;
	struct mvm_error err = { 0 };
	int r;

	(void)events;
	while ((r = mvm_exec_read(x->exec, &e, &err)) == MVM_STREAM_ITEM) {
		if (e->kind == MVM_EXEC_STDOUT)
			strbuf_add(&x->out, e->data, e->len);
		else if (e->kind == MVM_EXEC_STDERR && x->text.len < TEXT_MAX)
			strbuf_add(&x->text, e->data, e->len < TEXT_MAX ? e->len : TEXT_MAX);
		if (x->out.failed || x->out.len > OUTPUT_MAX) {
			strbuf_adds(&x->text, "the answer is too large");
			finish(x, EFBIG);
			return;
		}
		if (e->kind == MVM_EXEC_EXITED) {
			finish(x, e->signal ? EIO : e->status);
			return;
		}
	}
	if (r < 0) {
		strbuf_adds(&x->text, err.text);
		finish(x, r == -EREMOTEIO ? EHOSTDOWN : -r);
	} else if (loop_source_set_events(x->source, (uint32_t)mvm_exec_events(x->exec)) < 0) {
		finish(x, ENOMEM);
	}
}

int guest_files(struct request *rq, struct sandbox *s, const char *const *command, const char *user,
		guest_files_fn fn, void *arg, struct mvm_error *err)
{
	struct mvm_exec_start_options options = MVM_EXEC_START_OPTIONS_INIT;
	struct guest_files *x = calloc(1, sizeof(*x));
	if (!x)
		return mvm_error_oom(err);
	options.command = command;
	options.user = user;
	options.files = true;
	x->fn = fn;
	x->arg = arg;
	int r = mvm_exec_start(rq->server->mvm, s->id, &options, &x->exec, err);
	if (r == 0 && loop_add_fd(rq->server->loop, mvm_exec_fd(x->exec),
				  (uint32_t)mvm_exec_events(x->exec), on_exec, x, &x->source) < 0)
		r = mvm_error_oom(err);
	if (r < 0) {
		mvm_exec_close(x->exec);
		free(x);
		return r;
	}
	sandbox_use(s, &x->use, on_drop);
	return 0;
}

/* ---- entries ---- */

/* "-rw-r--r--", as Go prints it. */
static void permissions(char type, unsigned mode, char ret[16])
{
	static const char letters[] = "rwxrwxrwx";
	ret[0] = '-';
	if (type == 'd' || type == 'l')
		ret[0] = type == 'd' ? 'd' : 'L';
	for (int i = 0; i < 9; i++)
		ret[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
	ret[10] = '\0';
}

static const char *type_name(char type)
{
	if (type == 'f')
		return "FILE_TYPE_FILE";
	if (type == 'd')
		return "FILE_TYPE_DIRECTORY";
	return type == 'l' ? "FILE_TYPE_SYMLINK" : "FILE_TYPE_UNSPECIFIED";
}

static void put_time(json_t *o, const char *ns_text)
{
	char text[64];
	struct tm tm;
	long long ns = strtoll(ns_text, NULL, 10);
	time_t s = (time_t)(ns / 1000000000), rest = ns % 1000000000;
	if (rest < 0) {
		s--;
		rest += 1000000000;
	}
	if (!gmtime_r(&s, &tm) || tm.tm_year < 0 || tm.tm_year > 8099)
		return;
	size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%09lldZ", (long long)rest);
	json_object_set_new(o, "modifiedTime", json_string(text));
}

ssize_t guest_entry(const char *data, size_t len, json_t **ret, uint64_t *ret_size)
{
	enum { TYPE, MODE, SIZE, TIME, OWNER, GROUP, PATH, TARGET, LAST, PARTS };
	const char *part[PARTS];
	const char *at = data;
	uint64_t size = 0;
	char perms[16];

	for (int i = 0; i < PARTS; i++) {
		size_t left = len - (size_t)(at - data);
		const char *nul = memchr(at, 0, left);
		if (!nul)
			return len > ENTRY_MAX ? -EPROTO : 0;
		part[i] = at;
		at = nul + 1;
	}
	unsigned mode = (unsigned)strtoul(part[MODE], NULL, 8) & 07777;
	const char *type = type_name(part[TYPE][0]);
	const char *slash = strrchr(part[PATH], '/');
	if (part[PATH][0] != '/' || !slash || part[LAST][0] ||
	    parse_u64(part[SIZE], 0, INT64_MAX, &size) < 0)
		return -EPROTO;
	permissions(part[TYPE][0], mode, perms);
	json_t *o = json_pack("{s:o, s:s, s:o, s:i, s:s, s:o, s:o}", "name",
			      envd_text(slash[1] ? slash + 1 : "/"), "type", type, "path",
			      envd_text(part[PATH]), "mode", (int)(mode & 0777), "permissions",
			      perms, "owner", envd_text(part[OWNER]), "group",
			      envd_text(part[GROUP]));
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	json_object_set_new(o, "size", json_string(text));
	put_time(o, part[TIME]);
	if (part[TARGET][0])
		json_object_set_new(o, "symlinkTarget", envd_text(part[TARGET]));
	*ret = o;
	if (ret_size)
		*ret_size = size;
	return at - data;
}
