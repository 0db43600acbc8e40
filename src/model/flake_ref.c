/* SPDX-License-Identifier: Apache-2.0 */
#include "model/flake_ref.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/str.h"
#include "model/image_ref.h"

#define REF_MAX 4096

/* Schemes with a path after them.  url: how the absolute URL begins, NULL if it is no URL. follows:
 * characters that end the path. */
static const struct scheme {
	const char *name, *url, *follows;
} schemes[] = {
	{ "dir:", NULL, "" },
	{ "tar:", NULL, "" },
	{ "oci:", NULL, ":" },
	{ "oci-archive:", NULL, ":" },
	{ "docker-archive:", NULL, ":" },
	{ "path:", "path:", "?#" },
	{ "git+file:", "git+file://", "?#" },
};

/* Is the path after the scheme empty?  It would mean the whole working folder. */
static bool has_empty_path(const char *ref)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(schemes); i++) {
		const struct scheme *s = &schemes[i];
		if (str_starts(ref, s->name))
			return strcspn(ref + strlen(s->name), s->follows) == 0;
	}
	return false;
}

/* Find the path in a reference, NULL when it cannot be relative.  A bare word names a flake in
 * Nix's registry, so a path without a scheme starts with a dot.  Its URL is the path itself. */
static const char *path_part(const char *ref, const char **ret_url)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(schemes); i++) {
		if (!str_starts(ref, schemes[i].name))
			continue;
		*ret_url = schemes[i].url;
		return ref + strlen(schemes[i].name);
	}
	*ret_url = "";
	if (ref[0] != '.')
		return NULL;
	const char *after = ref + strspn(ref, ".");
	return after - ref <= 2 && (!*after || strchr("/#?", *after)) ? ref : NULL;
}

/* Put an absolute folder in front of a relative path; url: as in struct scheme. */
static char *make_absolute(const char *ref, const char *path, const char *url, const char *base_dir)
{
	AUTO_DONE(strbuf) b = { 0 };
	/* drop the dot of "." and "./x", and keep ".." and "x" */
	bool here = path[0] == '.' && path[1] != '.' && (!path[1] || strchr("/#?:", path[1]));
	const char *rest = here ? path + 1 : path;

	if (here && rest[0] == '/')
		rest += 1;
	if (url) {
		strbuf_adds(&b, url);
		strbuf_add_url_path(&b, base_dir, strlen(base_dir), false);
	} else {
		strbuf_add(&b, ref, (size_t)(path - ref));
		strbuf_adds(&b, base_dir);
	}
	if (*rest && !(here && strchr("#?:", *rest)))
		strbuf_adds(&b, "/");
	strbuf_adds(&b, rest);
	return strbuf_take(&b);
}

int flake_ref_absolute(const char *ref, const char *base_dir, char **ret, struct mvm_error *err)
{
	size_t len = strnlen(ref, REF_MAX + 1);

	if (len == 0)
		return mvm_error_set(err, -EINVAL, "is empty");
	if (len > REF_MAX)
		return mvm_error_set(err, -EINVAL, "is longer than %d bytes", REF_MAX);
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)ref[i] < ' ' || ref[i] == 0x7f)
			return mvm_error_set(err, -EINVAL, "has control characters");
	}
	if (has_empty_path(ref))
		return mvm_error_set(err, -EINVAL, "'%s' has an empty path", ref);

	if (str_starts(ref, IMAGE_REF_SCHEME)) {
		AUTO_DONE(image_ref) image = { 0 };
		int r = image_ref_parse(ref + strlen(IMAGE_REF_SCHEME), &image, err);
		if (r < 0)
			return r;
	}
	const char *url;
	const char *path = path_part(ref, &url);
	bool relative = path && path[0] != '/';
	AUTO_FREE char *absolute = relative ? make_absolute(ref, path, url, base_dir) : strdup(ref);
	if (!absolute)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(absolute);
	return 0;
}
