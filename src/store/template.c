/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/model_json.h"
#include "model/name.h"
#include "store/revision.h"
#include "store/store_priv.h"

int store_no_template(const char *id, struct mvm_error *err)
{
	mvm_error_set(err, -ENOENT, "no template '%s'", id);
	return mvm_error_reason(err, -ENOENT, "no-template", id);
}

int template_open(struct store *s, const char *id, bool create, struct mvm_error *err)
{
	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	int templates = store_dir(s, STORE_TEMPLATES);
	if (templates == -ENOENT)
		return store_no_template(id, err);
	if (templates < 0)
		return store_dir_failed(s, STORE_TEMPLATES, templates, err);
	int fd = dir_open_at(templates, id);
	if (fd == -ENOENT && create) {
		fd = dir_make_at(templates, id);
		if (fd >= 0 && (r = dir_sync(templates)) < 0) {
			close(fd);
			fd = r;
		}
	}
	if (fd == -ENOENT)
		return store_no_template(id, err);
	return fd >= 0 ? fd
		       : mvm_error_set(err, fd, "cannot open template '%s': %s", id, strerror(-fd));
}

/* Does the folder have a revision?  Then its template.json was lost. */
static bool has_revision(int templates_fd, const char *id)
{
	char path[NAME_MAX + 32];
	AUTO_DONE(strv) names = { 0 };

	snprintf(path, sizeof(path), "%s/artifacts", id);
	AUTO_CLOSE int fd = openat(templates_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || dir_list(fd, &names) < 0)
		return false;
	for (size_t i = 0; i < names.n; i++) {
		snprintf(path, sizeof(path), "%s/revision.json", names.v[i]);
		if (name_valid(NAME_REVISION, names.v[i]) && faccessat(fd, path, F_OK, 0) == 0)
			return true;
	}
	return false;
}

static bool is_template(int templates_fd, const char *id)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "%s/template.json", id);
	return faccessat(templates_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       has_revision(templates_fd, id);
}

int store_template_exists(struct store *s, const char *id, struct mvm_error *err)
{
	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	int templates = store_dir(s, STORE_TEMPLATES);
	if (templates == -ENOENT)
		return 0;
	if (templates < 0)
		return store_dir_failed(s, STORE_TEMPLATES, templates, err);
	return is_template(templates, id);
}

int store_template_list(struct store *s, struct strv *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 }, ids = { 0 };

	int r = store_dir_names(s, STORE_TEMPLATES, &names, err);
	if (r < 0)
		return r;
	int templates = store_dir(s, STORE_TEMPLATES);
	for (size_t i = 0; i < names.n; i++) {
		if (name_valid(NAME_TEMPLATE, names.v[i]) && is_template(templates, names.v[i]))
			strv_add(&ids, names.v[i]);
	}
	if (ids.failed)
		return mvm_error_oom(err);
	*ret = ids;
	ids = (struct strv){ 0 };
	return 0;
}

int store_spec_load(struct store *s, const char *id, struct mvm_template_spec *ret,
		    struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	char name[MVM_TEMPLATE_ID_SIZE + 32];
	size_t len;

	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "templates/%s/template.json", id);
	r = store_dir(s, STORE_TEMPLATES);
	if (r >= 0)
		r = file_read_below(r, name + strlen("templates/"), SPEC_MAX, &text, &len);
	if (r == -ENOENT && has_revision(store_dir(s, STORE_TEMPLATES), id)) {
		r = mvm_error_set(err, -EBADMSG, "%s is missing", name);
		return mvm_error_reason(err, r, "template-damaged", id);
	}
	if (r == -ENOENT)
		return store_no_template(id, err);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read template '%s': %s", id, strerror(-r));
	r = mvm_template_spec_parse(text, len, name, ret, err);
	return r == -EBADMSG ? mvm_error_reason(err, r, "template-damaged", id) : r;
}

/* Make a template's folder with template.json in it, in one step: a template is never empty.
 * -EEXIST: a folder has that name. */
static int make_with_spec(struct store *s, const char *id, const char *text, struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	int templates = store_dir_get(s, STORE_TEMPLATES, err);
	if (templates < 0)
		return templates;
	if (faccessat(templates, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	int r = store_stage(s, &st, err);
	if (r < 0)
		return r;
	r = file_create_at(st.fd, "template.json", text, strlen(text), 0600);
	if (r == 0)
		r = dir_sync(st.fd);
	if (r == 0 && renameat2(st.tmp_fd, st.name, templates, id, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0)
		r = dir_sync(templates);
	if (r < 0 && r != -EEXIST)
		mvm_error_set(err, r, "cannot write template '%s': %s", id, strerror(-r));
	return store_mend(s, r, err);
}

int store_spec_save(struct store *s, const struct mvm_template_spec *spec, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = mvm_template_spec_format(spec, &text, err);
	if (r < 0)
		return r;
	r = name_check(NAME_TEMPLATE, spec->template_id, err);
	if (r == 0)
		r = make_with_spec(s, spec->template_id, text, err);
	if (r != -EEXIST)
		return r;
	AUTO_CLOSE int dir = template_open(s, spec->template_id, false, err);
	if (dir < 0)
		return dir;
	r = store_spec_may_go(dir, spec->template_id, err);
	if (r < 0)
		return r;
	int scratch = store_scratch(s, err);
	if (scratch < 0)
		return scratch;
	r = file_replace_at(scratch, dir, SPEC_NAME, text, strlen(text), 0600);
	if (r < 0)
		mvm_error_set(err, r, "cannot write template '%s': %s", spec->template_id,
			      strerror(-r));
	return store_mend(s, r, err);
}
