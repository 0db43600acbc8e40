/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cmdline.h"

#include <errno.h>

#define CMDLINE_MAX 2047u /* COMMAND_LINE_SIZE of Linux on x86, less the NUL */

int cmdline_finish(struct strbuf *line, const struct vmm_config *config, const char *additions,
		   char **ret, struct mvm_error *err)
{
	for (const char *p = additions ? additions : ""; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return mvm_error_set(err, -EINVAL,
					     "the kernel arguments hold a control character");
	}
	for (size_t i = 0; i < config->n_drives; i++) {
		if (config->drives[i].option)
			strbuf_addf(line, " %s=/dev/vd%c", config->drives[i].option, 'a' + (int)i);
	}
	if (!str_empty(additions))
		strbuf_addf(line, " %s", additions);
	if (line->len > CMDLINE_MAX)
		return mvm_error_set(err, -EINVAL,
				     "the kernel arguments are longer than %u characters",
				     CMDLINE_MAX);
	char *text = line->failed ? NULL : strbuf_take(line);
	if (!text)
		return mvm_error_oom(err);
	*ret = text;
	return 0;
}
