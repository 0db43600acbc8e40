/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "usernet/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A question, and the reply to it.  Nothing is read beyond their ends, and the answers that we make
 * of them are messages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_question question, again;
	struct dns_answers answers;
	uint8_t copy[DNS_MESSAGE_MAX];
	if (size < 2)
		return 0;
	size_t len = (size_t)data[0] << 8 | data[1];
	data += 2;
	size -= 2;
	len = len < size ? len : size;
	if (dns_read_query(data, len, &question) < 0)
		return 0;
	if (question.end > len || strlen(question.name) >= sizeof(question.name))
		abort();
	memcpy(copy, data, len);
	size_t cut = dns_refuse(copy, &question, DNS_REFUSED);
	if (cut > len || dns_read_reply(copy, cut, &question, &answers) < 0 || answers.n != 0)
		abort();
	copy[2] &= 0x7f;
	if (dns_read_query(copy, cut, &again) < 0 || strcmp(again.name, question.name) != 0)
		abort();
	if (dns_read_reply(data + len, size - len, &question, &answers) == 0 &&
	    answers.n > DNS_ADDRESSES_MAX)
		abort();
	return 0;
}
