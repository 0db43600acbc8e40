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
#include "start/volumes.h"

void mvm_volume_done(struct mvm_volume *v)
{
	free(v->host);
	free(v->guest);
	free(v->name);
	*v = (struct mvm_volume){ 0 };
}
DEFINE_AUTO_DONE(mvm_volume, mvm_volume_done)

static int take_path(const char *text, struct mvm_volume *v, struct mvm_error *err)
{
	struct stat st;
	v->host = realpath(text, NULL);
	int r = !v->host || stat(v->host, &st) < 0	     ? -errno
		: S_ISDIR(st.st_mode) || S_ISREG(st.st_mode) ? 0
							     : -ENOTDIR;
	if (r == -ENOTDIR && v->host)
		return mvm_error_set(
			err, r, "cannot use '%s' as a volume: it is neither folder nor file", text);
	return r < 0 ? mvm_error_set(err, r, "cannot use '%s' as a volume: %s", text, strerror(-r))
		     : 0;
}

/* With one slash before each name, none at the end and no ".", so that two of them compare. */
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
		path[n ? n : 1] = '\0'; /* "/" itself stays */
	return path;
}

static bool leads_up(const char *guest)
{
	size_t len = strlen(guest);
	return strstr(guest, "/../") || (len >= 3 && str_eq(guest + len - 3, "/.."));
}

/* Is one of two places in the guest the other, or inside it? */
static bool overlap(const char *a, const char *b)
{
	size_t len = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
	return strncmp(a, b, len) == 0 &&
	       (strlen(a) == strlen(b) || a[len] == '/' || b[len] == '/');
}

/* The root itself, and what the kernel and mvm's agent mount. */
static bool is_taken(const char *guest)
{
	static const char *const taken[] = { "/proc", "/sys", "/dev", "/run/mvm" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(taken); i++) {
		if (overlap(guest, taken[i]))
			return true;
	}
	return str_eq(guest, "/");
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
	v.guest = take_guest(guest, guest_len);
	if (!host || !v.guest)
		return mvm_error_oom(err);
	if (leads_up(v.guest))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no volume: write its place in the guest without '..'",
				     text);
	if (is_taken(v.guest))
		return mvm_error_set(err, -EINVAL,
				     "'%s': no volume can be at '%s', which is the guest's own",
				     text, v.guest);
	int r = 0;
	if (path)
		r = take_path(host, &v, err);
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

/* A named volume's folder, made when it is first used. */
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
	if (!v->write_back)
		return 0;
	/* the supervisor claims it; said here before anything is started */
	AUTO_CLOSE int lock_fd = volume_lock(v->host);
	return lock_fd < 0 ? volume_lock_failed(v->name, lock_fd, err) : 0;
}

/* What is copied back from one place must not belong to two volumes. */
static int check_together(const struct mvm_volume *list, size_t n, struct mvm_error *err)
{
	for (size_t i = 1; i < n; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct mvm_volume *a = &list[k], *b = &list[i];
			if (overlap(a->guest, b->guest))
				return mvm_error_set(
					err, -EINVAL,
					"volumes at '%s' and '%s' overlap: give each a place of "
					"its own",
					a->guest, b->guest);
			if (a->name && b->name && str_eq(a->name, b->name) &&
			    (a->write_back || b->write_back))
				return mvm_error_set(
					err, -EINVAL,
					"volume '%s' is named twice: with :ro both get a copy",
					a->name);
		}
	}
	return 0;
}

int volumes_resolve(struct mvm *mvm, const struct mvm_volume *from, size_t n, uint32_t n_instances,
		    struct mvm_volume **ret, struct mvm_error *err)
{
	bool failed = false;
	struct mvm_volume *list = calloc(n + 1, sizeof(*list));
	int r = list ? check_together(from, n, err) : mvm_error_oom(err);
	for (size_t i = 0; i < n && r == 0; i++) {
		list[i] = (struct mvm_volume){
			.host = str_dup(from[i].host, &failed),
			.guest = str_dup(from[i].guest, &failed),
			.name = str_dup(from[i].name, &failed),
			.write_back = from[i].write_back,
		};
		if (failed)
			r = mvm_error_oom(err);
		else if (from[i].name && from[i].write_back && n_instances > 1)
			r = mvm_error_set(
				err, -EINVAL,
				"volume '%s' is for one VM at a time; with :ro each gets a copy",
				from[i].name);
		else if (from[i].name)
			r = resolve(mvm, &list[i], err);
	}
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

int mvm_instance_copy_back(struct mvm *mvm, const char *name,
			   const struct mvm_copy_options *options, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	struct mvm_instance *i = NULL;
	int64_t deadline_ns = clock_deadline_ns(options ? options->timeout_ms : -1);
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_load(fd, name, &rec, NULL, err);
	if (r < 0)
		return r;
	bool wanted = false;
	for (size_t k = 0; k < rec.n_volumes; k++)
		wanted |= rec.volumes[k].write_back;
	if (!wanted || rec.state == RECORD_STARTING)
		return 0; /* of a guest that is not up there is nothing to have back */
	r = mvm_instance_open(mvm, name, &i, err);
	if (r == 0)
		r = volumes_copy_back(&i->control, &rec, deadline_ns,
				      options ? options->cancel_fd : -1, err);
	mvm_instance_close(i);
	return r;
}
