/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <mvm/instance.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "instance/instance.h"
#include "instance/volume.h"
#include "model/name.h"
#include "start/context.h"
#include "start/volume_mark.h"
#include "start/volumes.h"

void mvm_volume_done(struct mvm_volume *v)
{
	if (!v)
		return;
	free(v->host);
	free(v->guest);
	free(v->name);
	*v = (struct mvm_volume){ 0 };
}
DEFINE_AUTO_DONE(mvm_volume, mvm_volume_done)

/* Resolve the links in a path: a link could later lead elsewhere. */
static int take_path(const char *text, char **ret, struct mvm_error *err)
{
	struct stat st;
	AUTO_FREE char *path = realpath(text, NULL);
	int r = !path || stat(path, &st) < 0 ? -errno : 0;
	if (r == 0 && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return mvm_error_set(err, -ENOTDIR,
				     "cannot use '%s' as a volume: it is neither folder nor file",
				     text);
	if (r < 0)
		return mvm_error_set(err, r, "cannot use '%s' as a volume: %s", text, strerror(-r));
	*ret = TAKE_PTR(path);
	return 0;
}

/* Write one slash before each name, none at the end, and no ".".  So equal places have equal texts.
 * */
static char *take_guest(const char *text, size_t len)
{
	char *path = strndup(text, len);
	size_t n = 0;
	for (const char *p = path; p && *p;) {
		size_t part = strcspn(p, "/");
		if (part > 0 && !(part == 1 && *p == '.')) {
			path[n++] = '/';
			memmove(path + n, p, part);
			n += part;
		}
		p += part + (p[part] == '/');
	}
	if (path)
		path[n ? n : 1] = '\0'; /* keep "/" itself */
	return path;
}

static bool leads_up(const char *guest)
{
	size_t len = strlen(guest);
	return strstr(guest, "/../") || (len >= 3 && str_eq(guest + len - 3, "/.."));
}

/* Are two absolute paths equal, or is one inside the other? */
static bool overlap(const char *a, const char *b)
{
	size_t len = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
	if (len == 1) /* the root */
		return true;
	return strncmp(a, b, len) == 0 &&
	       (strlen(a) == strlen(b) || a[len] == '/' || b[len] == '/');
}

/* A path where the kernel or mvm's agent mounts a file system, and which this place would hide or
 * be in; NULL: none. */
static const char *in_the_way(const char *guest)
{
	static const char *const taken[] = { "/proc", "/sys", "/dev", "/run/mvm" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(taken); i++) {
		if (overlap(guest, taken[i]))
			return taken[i];
	}
	return NULL;
}

static int take_place(const char *text, size_t len, char **ret, struct mvm_error *err)
{
	AUTO_FREE char *guest = take_guest(text, len);
	if (!guest)
		return mvm_error_oom(err);
	if (leads_up(guest))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no place for a volume: write it without '..'", guest);
	const char *own = in_the_way(guest);
	if (own)
		return mvm_error_set(err, -EINVAL,
				     "no volume can be at '%s': '%s' is the guest's own", guest,
				     own);
	*ret = TAKE_PTR(guest);
	return 0;
}

int volume_check_reserved(const struct mvm_volume *v, size_t i, struct mvm_error *err)
{
	return mem_is_zero(v->reserved, sizeof(v->reserved))
		       ? 0
		       : mvm_error_set(err, -EOPNOTSUPP,
				       "volumes[%zu].reserved is not 0: this libmvm has no members "
				       "there",
				       i);
}

/* Check and copy a volume.  Callers may fill the struct without mvm_volume_parse(). */
static int take_volume(const struct mvm_volume *from, struct mvm_volume *ret, struct mvm_error *err)
{
	if (!from->guest || from->guest[0] != '/')
		return mvm_error_set(err, -EINVAL,
				     "a volume's place in the guest must be an absolute path");
	if (!from->host == !from->name || (from->host && from->host[0] != '/'))
		return mvm_error_set(err, -EINVAL,
				     "the volume at '%s' needs an absolute path of this host or a "
				     "name, and not both",
				     from->guest);
	int r = take_place(from->guest, strlen(from->guest), &ret->guest, err);
	if (r == 0 && from->name)
		r = name_check(NAME_VOLUME, from->name, err);
	else if (r == 0)
		r = take_path(from->host, &ret->host, err);
	if (r < 0)
		return r;
	ret->write_back = from->write_back;
	bool failed = false;
	ret->name = str_dup(from->name, &failed);
	return failed ? mvm_error_oom(err) : 0;
}

int mvm_volume_parse(const char *text, struct mvm_volume *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_volume) v = { 0 };
	size_t host_len = strcspn(text, ":");
	const char *guest = text + host_len + (text[host_len] == ':');
	size_t guest_len = strcspn(guest, ":");
	const char *mode = guest + guest_len;
	bool path = text[0] == '/' || text[0] == '.';

	v.write_back = str_eq(mode, ":rw") || (!path && !*mode);
	if (host_len == 0 || guest[0] != '/' || (*mode && !v.write_back && !str_eq(mode, ":ro")))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no volume: write HOST:GUEST or HOST:GUEST:rw, as in "
				     "./data:/srv/data",
				     text);
	AUTO_FREE char *host = strndup(text, host_len);
	if (!host)
		return mvm_error_oom(err);
	int r = take_place(guest, guest_len, &v.guest, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", text);
	if (path)
		r = take_path(host, &v.host, err);
	else if (!name_valid(NAME_VOLUME, host))
		r = mvm_error_set(err, -EINVAL,
				  "'%s' is neither a path nor a name: a path begins with / or ./, "
				  "for the name of a volume %s",
				  host, name_rule(NAME_VOLUME));
	else
		v.name = TAKE_PTR(host);
	if (r < 0)
		return r;
	*ret = v;
	v = (struct mvm_volume){ 0 };
	return 0;
}

/* Find a named volume's folder, and make it at its first use. */
static int resolve(struct mvm *mvm, struct mvm_volume *v, struct mvm_error *err)
{
	int fd = store_dir_get(mvm->store, STORE_VOLUMES, err);
	int r = fd < 0 ? fd : name_check(NAME_VOLUME, v->name, err);
	if (r < 0)
		return r;
	AUTO_FREE char *path = str_printf("%s/volumes/%s", store_path(mvm->store), v->name);
	if (!path)
		return mvm_error_oom(err);
	if (mkdirat(fd, v->name, 0755) < 0 && errno != EEXIST)
		r = -errno;
	v->host = r == 0 ? realpath(path, NULL) : NULL;
	if (!v->host)
		return mvm_error_set(err, r < 0 ? r : -errno, "cannot use volume '%s': %s", v->name,
				     strerror(r < 0 ? -r : errno));
	volume_mark(fd, v->name);
	if (!v->write_back)
		return 0;
	/* the supervisor takes the lock; this check reports a conflict before anything starts */
	AUTO_CLOSE int lock_fd = volume_lock(v->host);
	if (lock_fd >= 0)
		return 0;
	r = volume_lock_failed(v->name, lock_fd, err);
	return r == -EBUSY ? mvm_error_hint(err, r,
					    "stop that VM first, or use a copy of what it had "
					    "with :ro")
			   : r;
}

/* Check that two volumes do not overlap in the guest, nor, if both are copied back, on the host. */
static int check_pair(const struct mvm_volume *a, const struct mvm_volume *b, struct mvm_error *err)
{
	if (overlap(a->guest, b->guest))
		return mvm_error_set(
			err, -EINVAL,
			"volumes at '%s' and '%s' overlap: give each a place of its own", a->guest,
			b->guest);
	if (a->name && b->name && str_eq(a->name, b->name) && (a->write_back || b->write_back))
		return mvm_error_set(err, -EINVAL,
				     "volume '%s' is named twice: with :ro both get a copy",
				     a->name);
	if (a->host && b->host && a->write_back && b->write_back && overlap(a->host, b->host))
		return mvm_error_set(err, -EINVAL,
				     "'%s' and '%s' would both be copied back to '%s': leave out "
				     ":rw for one of them",
				     a->guest, b->guest,
				     strlen(a->host) > strlen(b->host) ? a->host : b->host);
	return 0;
}

static int check_together(const struct mvm_volume *list, size_t n, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 1; i < n && r == 0; i++) {
		for (size_t k = 0; k < i && r == 0; k++)
			r = check_pair(&list[k], &list[i], err);
	}
	return r;
}

/* Check and copy a list; the names are not resolved yet. */
static int take_list(const struct mvm_volume *from, size_t n, struct mvm_volume **ret,
		     struct mvm_error *err)
{
	if (n > MVM_VOLUMES_MAX)
		return mvm_error_set(err, -EINVAL, "more than %d volumes", MVM_VOLUMES_MAX);
	struct mvm_volume *list = calloc(n + 1, sizeof(*list));
	int r = list ? 0 : mvm_error_oom(err);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = volume_check_reserved(&from[i], i, err);
		if (r == 0)
			r = take_volume(&from[i], &list[i], err);
	}
	if (r == 0)
		r = check_together(list, n, err);
	if (r < 0)
		volumes_free(list, n);
	else
		*ret = list;
	return r;
}

int mvm_volumes_check(const struct mvm_volume *list, size_t n, struct mvm_error *err)
{
	struct mvm_volume *copy = NULL;
	int r = take_list(list, n, &copy, err);
	if (r == 0)
		volumes_free(copy, n);
	return r;
}

int volumes_resolve(struct mvm *mvm, const struct mvm_volume *from, size_t n, uint32_t n_instances,
		    struct mvm_volume **ret, struct mvm_error *err)
{
	struct mvm_volume *list = NULL;
	int r = take_list(from, n, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (list[i].write_back && n_instances > 1)
			r = mvm_error_set(
				err, -EINVAL,
				"volume '%s' is for one VM at a time; with :ro each gets a copy",
				list[i].name ? list[i].name : list[i].host);
		else if (list[i].name)
			r = resolve(mvm, &list[i], err);
	}
	if (r == 0) /* again: a name and a path may mean one folder */
		r = check_together(list, n, err);
	if (r < 0)
		volumes_free(list, n);
	else
		*ret = list;
	return r;
}

void volumes_free(struct mvm_volume *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		mvm_volume_done(&list[i]);
	free(list);
}
