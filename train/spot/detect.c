/* detect.c - which cloud a machine belongs to, by the names its firmware gives (DMI): files of the kernel, no request.
 *
 * The names are those the providers state for this purpose. Sys_vendor "Google" alone is also a laptop, "Microsoft
 * Corporation" alone any Hyper-V machine: neither is enough.
 */
#include "train/spot/provider.h"

#include <stdio.h>
#include <string.h>

/* The asset tag of every Azure machine: "MSFT AZURE VM" in numbers of ASCII characters. */
#define AZURE_ASSET_TAG "7783-7084-3265-9085-8269-3286-77"

static const char *read_name(const char *directory, const char *name, char out[128])
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(out, 128, file)) *out = 0;
    if (file) fclose(file);
    out[strcspn(out, "\n")] = 0;
    return out;
}

const tarn_spot_provider *tarn_spot_detect(const char *directory)
{
    char text[128];
    if (!strcmp(read_name(directory, "sys_vendor", text), "Amazon EC2")) return &tarn_spot_aws;
    if (!strcmp(read_name(directory, "bios_vendor", text), "Amazon EC2")) return &tarn_spot_aws;
    /* the older machines on Xen: "4.11.amazon" */
    if (strstr(read_name(directory, "bios_version", text), "amazon")) return &tarn_spot_aws;
    if (!strncmp(read_name(directory, "product_name", text), "Google Compute Engine", 21)) return &tarn_spot_gcp;
    if (!strcmp(text, "Google")) return &tarn_spot_gcp;
    if (!strcmp(read_name(directory, "chassis_asset_tag", text), AZURE_ASSET_TAG)) return &tarn_spot_azure;
    return NULL;
}
