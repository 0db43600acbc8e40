/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "pull/session.h"

#define PATIENCE_MS 5000

void login_place_done(struct login_place *p)
{
	free(p->file);
	free(p->program);
	*p = (struct login_place){ 0 };
}

/* ---- one file ---- */

struct auth_file {
	char *path; /* past symbolic links */
	char *folder;
	const char *name; /* in that folder */
	int dir;	  /* the folder, locked against other logins; -1: not open */
	json_t *doc;
	struct json_at root;
};
#define AUTH_FILE_NONE                                                                             \
	{                                                                                          \
		.dir = -1                                                                          \
	}

static void auth_file_done(struct auth_file *f)
{
	if (f->dir >= 0)
		close(f->dir);
	json_decref(f->doc);
	free(f->path);
	free(f->folder);
	*f = (struct auth_file)AUTH_FILE_NONE;
}
DEFINE_AUTO_DONE(auth_file, auth_file_done)

static int failed(int code, const char *verb, const char *path, struct mvm_error *err)
{
	return mvm_error_set(err, code, "cannot %s '%s': %s", verb, path, strerror(-code));
}

/* Find the file, which may be a link of the user's, or may not exist. */
static int name_file(struct auth_file *f, const char *path, struct mvm_error *err)
{
	AUTO_FREE char *real = realpath(path, NULL);

	if (!real && errno != ENOENT && errno != ENOTDIR)
		return failed(-errno, "open", path, err);
	f->path = real ? TAKE_PTR(real) : strdup(path);
	f->folder = f->path ? strdup(f->path) : NULL;
	if (!f->folder)
		return mvm_error_oom(err);
	char *slash = strrchr(f->path, '/');
	f->name = slash ? slash + 1 : f->path;
	if (!slash)
		snprintf(f->folder, strlen(path) + 1, "%s", ".");
	else
		f->folder[slash == f->path ? 1 : slash - f->path] = '\0';
	return *f->name ? 0 : failed(-EISDIR, "open", path, err);
}

/* Read the document.  0, also without a file; then it is empty. */
static int read_document(struct auth_file *f, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;

	json_decref(f->doc);
	f->doc = NULL;
	int r = file_read_at(AT_FDCWD, f->path, CREDENTIALS_FILE_MAX, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR || (r == 0 && len == 0)) {
		f->doc = json_object();
		json_root(&f->root, f->path, f->doc);
		return f->doc ? 0 : mvm_error_oom(err);
	}
	if (r < 0)
		return failed(r, "read", f->path, err);
	r = json_read_object(text, len, f->path, &f->doc, &f->root, err);
	explicit_bzero(text, len);
	return r;
}

/* Make the folder, and keep other logins out of it until the file is closed.  It may be a folder of
 * everybody's, so this waits for seconds at most. */
static int lock_folder(struct auth_file *f, const struct mvm_progress *progress,
		       struct mvm_error *err)
{
	int r = dir_make_path(f->folder);
	if (r == 0) {
		f->dir = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = f->dir < 0 ? -errno
			       : lock_take_fd(f->dir, clock_deadline_ns(PATIENCE_MS), progress);
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the change of logins");
	return r < 0 ? failed(r, "lock the folder of", f->path, err) : 0;
}

static int write_document(struct auth_file *f, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct json_out out = { 0 };

	int r = json_out_text(&out, json_incref(f->doc), JSON_TEXT_PRETTY, &text, err);
	if (r < 0)
		return r;
	r = file_replace_at(f->dir, f->dir, f->name, text, strlen(text), 0600);
	explicit_bzero(text, strlen(text));
	return r < 0 ? failed(r, "write", f->path, err) : 0;
}

/* ---- entries ---- */

/* The document's auths, which is made if it is missing. */
static int get_auths(struct auth_file *f, json_t **ret, struct mvm_error *err)
{
	struct json_at auths;

	int r = json_get_object(&f->root, "auths", JSON_NULLABLE, &auths, err);
	if (r < 0)
		return r;
	*ret = r > 0 ? auths.value : json_object();
	if (r == 0 && json_object_set_new(f->doc, "auths", *ret) < 0)
		return mvm_error_oom(err);
	return 0;
}

/* Remove the entries of the whole host, however they are written.  Returns how many. */
static size_t drop_entries(json_t *auths, const char *host)
{
	const char *key;
	json_t *value;
	size_t n = 0;
	void *next;

	json_object_foreach_safe(auths, next, key, value)
	{
		if (!credentials_is_key(key, host))
			continue;
		json_object_del(auths, key);
		n++;
	}
	return n;
}

/* {"auth": base64 of USER:PASSWORD}, or {} where a program has them. */
static json_t *entry_of(const struct credentials *who, const char *program)
{
	AUTO_FREE char *plain = str_printf("%s:%s", who->user, who->password);

	if (program || !plain)
		return program ? json_object() : NULL;
	AUTO_FREE char *coded = base64_text(plain, strlen(plain));
	explicit_bzero(plain, strlen(plain));
	json_t *entry = coded ? json_pack("{s:s}", "auth", coded) : NULL;
	if (coded)
		explicit_bzero(coded, strlen(coded));
	return entry;
}

static int put_entry(struct auth_file *f, const char *host, const struct credentials *who,
		     const char *program, const struct mvm_progress *progress,
		     struct mvm_error *err)
{
	json_t *auths = NULL;

	int r = lock_folder(f, progress, err);
	if (r == 0)
		r = read_document(f, err); /* another login may have changed it */
	if (r == 0)
		r = get_auths(f, &auths, err);
	if (r < 0)
		return r;
	drop_entries(auths, host);
	if (json_object_set_new(auths, credentials_server(host), entry_of(who, program)) < 0)
		return mvm_error_oom(err);
	return write_document(f, err);
}

int login_store(const char *host, const struct credentials *who,
		const struct mvm_progress *progress, struct login_place *ret, struct mvm_error *err)
{
	AUTO_DONE(auth_file) f = AUTH_FILE_NONE;
	AUTO_DONE(login_place) place = { 0 };
	AUTO_DONE(strv) files = { 0 };
	AUTO_FREE char *program = NULL;

	if (credentials_files(&files) < 0)
		return mvm_error_oom(err);
	int r = name_file(&f, files.v[0], err);
	if (r == 0)
		r = read_document(&f, err);
	if (r == 0)
		r = credentials_program(&f.root, host, &program, err);
	if (r == 0 && program)
		r = credential_program_store(program, host, who, progress, err);
	if (r == 0)
		r = put_entry(&f, host, who, program, progress, err);
	if (r < 0)
		return r;
	place.file = strdup(f.path);
	place.program = program ? str_printf("docker-credential-%s", program) : NULL;
	if (!place.file || (program && !place.program))
		return mvm_error_oom(err);
	*ret = place;
	place = (struct login_place){ 0 };
	return 0;
}

/* ---- logging out ---- */

/* Let a file's helper forget the host.  1 if it had credentials. */
static int erase_from_program(struct auth_file *f, const char *host,
			      const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(credentials) known = { 0 };
	AUTO_FREE char *program = NULL;

	int r = credentials_program(&f->root, host, &program, err);
	if (r < 0 || !program)
		return r;
	r = credential_program_ask(program, host, progress, &known, err);
	if (r <= 0)
		return r;
	r = credential_program_erase(program, host, progress, err);
	return r < 0 ? r : 1;
}

/* Tell which logins stay: podman's for a part of the host, as `podman logout HOST` leaves them. */
static void note_parts(const struct auth_file *f, const char *host,
		       const struct mvm_progress *progress)
{
	json_t *auths = json_object_get(f->doc, "auths"), *value;
	const size_t len = strlen(host);
	const char *key;

	json_object_foreach(auths, key, value)
	{
		if (str_starts(key, host) && key[len] == '/' && !credentials_is_key(key, host))
			progress_note(progress, "the login for '%s' stays in %s", key, f->path);
	}
}

/* 1 if the file had credentials of the host. */
static int forget_in(const char *path, const char *host, const struct mvm_progress *progress,
		     struct mvm_error *err)
{
	AUTO_DONE(auth_file) f = AUTH_FILE_NONE;

	if (access(path, F_OK) < 0)
		return 0;
	int r = name_file(&f, path, err);
	if (r == 0)
		r = read_document(&f, err);
	if (r < 0)
		return r;
	note_parts(&f, host, progress);
	int erased = erase_from_program(&f, host, progress, err);
	if (erased < 0)
		return erased;
	if (drop_entries(json_object_get(f.doc, "auths"), host) == 0)
		return erased;
	r = lock_folder(&f, progress, err);
	if (r == 0)
		r = read_document(&f, err);
	if (r < 0)
		return r;
	drop_entries(json_object_get(f.doc, "auths"), host);
	r = write_document(&f, err);
	return r < 0 ? r : 1;
}

int login_forget(const char *host, const struct mvm_progress *progress, struct strv *ret,
		 struct mvm_error *err)
{
	AUTO_DONE(strv) files = { 0 };

	if (credentials_files(&files) < 0)
		return mvm_error_oom(err);
	for (size_t i = 0; i < files.n; i++) {
		int r = forget_in(files.v[i], host, progress, err);
		if (r < 0)
			return r;
		if (r > 0)
			strv_add(ret, files.v[i]);
	}
	return ret->failed ? mvm_error_oom(err) : 0;
}

/* ---- asking the registry ---- */

int login_check(const char *data_dir, const char *host, const struct credentials *who,
		const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(session) s = SESSION_NONE;

	int r = session_open_as(data_dir, host, "", 0, who, progress, &s, err);
	return r < 0 ? r : session_check(&s, err);
}
