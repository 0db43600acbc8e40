/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/paths.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

char *mvm_data_dir(const char *argument)
{
	if (!str_empty(argument))
		return strdup(argument);
	const char *env = getenv("MVM_DATA_DIR");
	if (!str_empty(env))
		return strdup(env);
	const char *home = getenv("HOME");
	if (!home || home[0] != '/') {
		errno = ENOENT;
		return NULL;
	}
	return str_printf("%s/.mvm", home);
}

/* Make <data_dir>/templates[/<part>]... of the parts up to the first NULL. */
static char *join(const char *data_dir, const char *const *parts)
{
	AUTO_FREE char *resolved = data_dir ? NULL : mvm_data_dir(NULL);
	AUTO_DONE(strbuf) path = { 0 };

	if (!data_dir && !resolved)
		return NULL;
	strbuf_adds(&path, data_dir ? data_dir : resolved);
	strbuf_adds(&path, "/templates");
	for (; *parts; parts++)
		strbuf_addf(&path, "/%s", *parts);
	return path.failed ? NULL : strbuf_take(&path);
}

#define JOIN(data_dir, ...) join(data_dir, (const char *const[]){ __VA_ARGS__, NULL })

char *mvm_templates_base_dir(const char *data_dir)
{
	return JOIN(data_dir, NULL);
}

char *mvm_template_dir(const char *data_dir, const char *template_id)
{
	return JOIN(data_dir, template_id);
}

char *mvm_template_spec_path(const char *data_dir, const char *template_id)
{
	return JOIN(data_dir, template_id, "template.json");
}

char *mvm_template_artifacts_dir(const char *data_dir, const char *template_id)
{
	return JOIN(data_dir, template_id, "artifacts");
}

char *mvm_template_revision_dir(const char *data_dir, const char *template_id, const char *revision)
{
	return JOIN(data_dir, template_id, "artifacts", revision);
}

char *mvm_template_current_symlink(const char *data_dir, const char *template_id)
{
	return JOIN(data_dir, template_id, "current");
}

char *mvm_template_snapshot_dir(const char *data_dir, const char *template_id, const char *revision)
{
	return JOIN(data_dir, template_id, "artifacts", revision, "snapshot");
}
