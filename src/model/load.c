/* SPDX-License-Identifier: Apache-2.0 */
#include "model/load.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

#define REVISION_MAX_BYTES ((size_t)4 << 20)

int revision_load_at(int dir_fd, struct mvm_template_revision *ret, struct mvm_error *err)
{
	static const char name[] = "revision.json";
	AUTO_FREE char *text = NULL;
	struct mvm_template_revision rev = { 0 };
	size_t len;

	int r = file_read_at(dir_fd, name, REVISION_MAX_BYTES, &text, &len);
	if (r == -ENOENT)
		return mvm_error_set(err, -EBADMSG, "%s is missing", name);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", name, strerror(-r));
	r = mvm_template_revision_parse(text, len, name, &rev, err);
	if (r < 0)
		return r;

	const struct mvm_artifact_paths *paths = &rev.artifact_paths;
	const char *const names[] = { paths->vmlinux, paths->rootfs,
				      paths->initrd ? paths->initrd : "initrd" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (mvm_artifact_name_valid(names[i]))
			continue;
		r = mvm_error_set(err, -EBADMSG, "%s: artifact_paths: '%s' is no file name", name,
				  names[i]);
		mvm_template_revision_done(&rev);
		return r;
	}
	*ret = rev;
	return 0;
}
