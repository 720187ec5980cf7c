// Loses ten bytes.
#include <stdlib.h>

int main(void) {
    volatile char *lost = malloc(10);
    lost[0] = 1;
    lost = NULL;
    return 0;
}
