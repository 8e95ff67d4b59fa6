/* places.c - see places.h. */
#include "track/boards/places.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST = 120 };

void tarn_board_folder_name(char *out, size_t size, const char *name)
{
    size_t length = 0;
    for (; name[length] && length < LONGEST && length + 1 < size; length++) {
        unsigned char byte = (unsigned char)name[length];
        out[length] = (char)(byte == '/' || byte < ' ' || byte == 0x7f ? '-' : byte);
    }
    if (name[length])
        while (length && ((unsigned char)name[length] & 0xc0) == 0x80) length--;
    out[length] = '\0';
    if (*out == '.') *out = '_';
}

int tarn_board_find(const char *folder, const char *one, const char *two, char *found)
{
    char best[256] = "";
    DIR *directory = opendir(folder);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strstr(entry->d_name, one) || !strstr(entry->d_name, two)) continue;
        if (!*best || strcmp(entry->d_name, best) < 0) snprintf(best, sizeof best, "%s", entry->d_name);
    }
    closedir(directory);
    if (found) memcpy(found, best, sizeof best);
    return *best != '\0';
}
