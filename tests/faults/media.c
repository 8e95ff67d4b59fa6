#include "tests/faults/campaign.h"
fault_tally fault_campaign_media(const fault_campaign *campaign)
{
    (void)campaign;
    return (fault_tally){0};
}
