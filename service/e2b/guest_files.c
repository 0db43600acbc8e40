/* SPDX-License-Identifier: Apache-2.0 */
/* Work of the guest's agent with files, for the calls that want all of its output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "e2b/envd.h"
#include "e2b/metadata.h"
#include "entry.h"
#include "request.h"
#include "server.h"

#define OUTPUT_MAX ((size_t)16 * 1024 * 1024)
#define TEXT_MAX   ((size_t)1024)

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

static void on_gone(void *arg)
{
	finish(arg, ECANCELED);
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
	request_on_gone(rq, on_gone, x);
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

static void put_time(json_t *o, int64_t ns)
{
	char text[64];
	struct tm tm;
	time_t s = (time_t)(ns / NS_PER_S), rest = ns % NS_PER_S;
	if (rest < 0) {
		s--;
		rest += NS_PER_S;
	}
	if (!gmtime_r(&s, &tm) || tm.tm_year < 0 || tm.tm_year > 8099)
		return;
	size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%09lldZ", (long long)rest);
	json_object_set_new(o, "modifiedTime", json_string(text));
}

ssize_t guest_entry_json(const char *data, size_t len, json_t **ret)
{
	char perms[16], size[24];
	struct guest_entry e;

	ssize_t n = guest_entry_read(data, len, &e);
	if (n <= 0)
		return n;
	permissions(e.type, e.mode, perms);
	json_t *o = json_pack(
		"{s:o, s:s, s:o, s:i, s:s, s:o, s:o}", "name", envd_text(e.name[0] ? e.name : "/"),
		"type", type_name(e.type), "path", envd_text(e.path), "mode", (int)(e.mode & 0777),
		"permissions", perms, "owner", envd_text(e.owner), "group", envd_text(e.group));
	snprintf(size, sizeof(size), "%llu", (unsigned long long)e.size);
	json_object_set_new(o, "size", json_string(size));
	put_time(o, e.time_ns);
	if (e.target[0])
		json_object_set_new(o, "symlinkTarget", envd_text(e.target));
	if (e.metadata[0])
		json_object_set_new(o, "metadata", metadata_json(e.metadata));
	*ret = o;
	return n;
}
