/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "vmm/net_news.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken for a report can be printed: no control characters, and counts only grow. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmm_refusal refusals[VMM_REFUSALS_MAX];
	struct vmm_network_news news = { 0 };
	uint64_t known = 0;
	AUTO_JSON json_t *doc = NULL;
	if (json_read((const char *)data, size, "report", &doc, NULL) < 0 ||
	    net_news_read(doc, &known, &news, refusals) < 0)
		return 0;
	if (news.n > VMM_REFUSALS_MAX || known != news.n_refused)
		abort();
	for (size_t i = 0; i < news.n; i++) {
		const char *target = refusals[i].target;
		if (!target[0] || strlen(target) >= sizeof(refusals[i].target))
			abort();
		for (; *target; target++)
			if (*target <= ' ' || *target > '~')
				abort();
	}
	if (net_news_read(doc, &known, &news, refusals) < 0 || news.n_refused != 0)
		abort();
	return 0;
}
