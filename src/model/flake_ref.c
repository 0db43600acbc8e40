/* SPDX-License-Identifier: Apache-2.0 */
#include "model/flake_ref.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/str.h"

#define REF_MAX 4096

/* The schemes whose reference goes on with a path. */
static const char *const path_schemes[] = {
	"dir:", "tar:", "oci:", "oci-archive:", "docker-archive:", "path:",
};

/* The path in a reference, or NULL when it has none that could be relative.  A bare word is the
 * name of a flake in Nix's registry, so a plain path starts with a dot. */
static const char *path_part(const char *ref)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(path_schemes); i++) {
		if (str_starts(ref, path_schemes[i]))
			return ref + strlen(path_schemes[i]);
	}
	if (ref[0] != '.')
		return NULL;
	const char *after = ref + strspn(ref, ".");
	return after - ref <= 2 && (!*after || strchr("/#?", *after)) ? ref : NULL;
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

	const char *path = path_part(ref);
	AUTO_FREE char *absolute = NULL;
	if (!path || path[0] == '/') {
		absolute = strdup(ref);
	} else {
		int scheme = (int)(path - ref);
		/* "." and "./x" without their dot; ".." and "x" whole */
		bool here = path[0] == '.' && path[1] != '.' &&
			    (!path[1] || strchr("/#?:", path[1]));
		const char *rest = here ? path + 1 : path;
		if (here && rest[0] == '/')
			rest += 1;
		const char *slash = !*rest || (here && strchr("#?:", *rest)) ? "" : "/";
		absolute = str_printf("%.*s%s%s%s", scheme, ref, base_dir, slash, rest);
	}
	if (!absolute)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(absolute);
	return 0;
}
